/* Plan through the U-Maze without Python:
 *   diffuser-fast export maze2d-umaze -o umaze.dfb && make capi && build/capi/plan_umaze umaze.dfb
 * A third word is a number of milliseconds by which it is to be done, opening and the first plan together. */
#include <diffuser_fast.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST = 1024, O = 4 }; /* steps of a plan; an observation is x, y and their velocities */

int main(int argc, char** argv) {
  static const char* const finishes[] = {"full", "strided", "restrided", "finishing", "shifted"};
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
  if (argc > 2) { /* in time: it has to be known what denoising steps cost, which takes a few of them */
    request.deadline_ns = began + (int64_t)(atof(argv[2]) * 1e6);
    if (status == DFX_OK) status = dfx_planner_calibrate(planner, DFX_BRIEFLY);
  }
  const int64_t known = dfx_now();
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
  if (status == DFX_OK) {
    printf("opened in %.1f ms, first plan after %.1f ms more", (ready - began) * 1e-6,
           (plan.ended_ns - ready) * 1e-6);
    printf(" (%.1f to learn what steps cost), %.1f in all\n", (known - ready) * 1e-6,
           (plan.ended_ns - began) * 1e-6);
    printf("%s, %d of %d denoising steps, deadline %s\n", finishes[plan.finish], plan.rows, info.rows,
           !request.deadline_ns ? "none"
           : plan.deadline_met  ? "met"
                                : "missed");
  } else
    fprintf(stderr, "%s: %s\n", dfx_status_string(status), error);
  dfx_planner_close(planner);
  dfx_bundle_close(bundle);
  return status == DFX_OK ? 0 : 1;
}
