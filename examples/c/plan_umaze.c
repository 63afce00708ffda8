/* Plan through the U-Maze without Python:
 *   diffuser-fast export maze2d-umaze -o umaze.dfb && make capi && build/capi/plan_umaze umaze.dfb */
#include <diffuser_fast.h>
#include <stdio.h>

enum { MOST = 1024, O = 4 }; /* steps of a plan; an observation is x, y and their velocities */

int main(int argc, char** argv) {
  static float observations[MOST * O];
  const double now[O] = {3.0, 1.0, 0.0, 0.0}, goal[O] = {1.0, 1.0, 0.0, 0.0};
  const dfx_condition conditions[] = {{sizeof conditions[0], 0, now, NULL},
                                      {sizeof conditions[0], -1, goal, NULL}};
  dfx_bundle_info info = {.struct_size = sizeof info};
  dfx_request request = {.struct_size = sizeof request};
  dfx_plan plan = {.struct_size = sizeof plan};
  dfx_bundle* bundle = NULL;
  dfx_planner* planner = NULL;
  char error[256] = "";
  const int64_t began = dfx_now();
  dfx_status status = dfx_bundle_open(argc > 1 ? argv[1] : "umaze.dfb", error, sizeof error, &bundle);
  if (status == DFX_OK) status = dfx_bundle_get_info(bundle, &info);
  if (status == DFX_OK && info.observation_dim != O) status = DFX_UNSUPPORTED;
  if (status == DFX_OK) status = dfx_planner_open(bundle, NULL, error, sizeof error, &planner);
  const int64_t ready = dfx_now();
  request.conditions = conditions;
  request.n_conditions = 2;
  plan.observations = observations;
  plan.n_observations = MOST * O;
  if (status == DFX_OK) {
    status = dfx_planner_plan(planner, &request, &plan);
    if (status != DFX_OK) snprintf(error, sizeof error, "%s", dfx_planner_error(planner));
  }
  for (int t = 0; status == DFX_OK && t < info.horizon; t += 8)
    printf("%3d  x %6.3f  y %6.3f\n", t, observations[t * O], observations[t * O + 1]);
  if (status == DFX_OK)
    printf("opened in %.1f ms, first plan after %.1f ms more\n", (ready - began) * 1e-6,
           (plan.ended_ns - ready) * 1e-6);
  else
    fprintf(stderr, "%s: %s\n", dfx_status_string(status), error);
  dfx_planner_close(planner);
  dfx_bundle_close(bundle);
  return status == DFX_OK ? 0 : 1;
}
