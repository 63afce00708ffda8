// Drives a point that does what the plan's observations say, as a controller manager would: 50 updates a second.
//   build/capi/controller umaze.dfb [steps]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include "controller.h"

int main(int argc, char** argv) {
  const std::string path = argc > 1 ? argv[1] : "umaze.dfb";
  const int steps = argc > 2 ? std::atoi(argv[2]) : 200;
  PlanningController controller({path, {1.0, 1.0, 0.0, 0.0}});
  if (controller.on_configure() != CallbackReturn::SUCCESS) {
    std::fprintf(stderr, "%s\n", controller.error().c_str());
    return 1;
  }
  std::vector<double>& state = controller.observation();
  if (state.size() != 4 || controller.command().size() != 2) {
    std::fprintf(stderr, "%s: not of a maze, whose state is x, y and their velocities\n", path.c_str());
    return 1;
  }
  state = {3.0, 1.0, 0.0, 0.0};
  if (controller.on_activate() != CallbackReturn::SUCCESS) {
    std::fprintf(stderr, "%s\n", controller.error().c_str());
    return 1;
  }
  using Clock = std::chrono::steady_clock;
  const auto period = std::chrono::milliseconds(20);
  auto next = Clock::now();
  double longest = 0;
  int32_t oldest = 0;
  for (int i = 0; i < steps; ++i) {
    const auto began = Clock::now();
    controller.update();
    longest = std::max(longest, std::chrono::duration<double, std::micro>(Clock::now() - began).count());
    oldest = std::max(oldest, controller.step().age);
    for (int d = 0; d < 2; ++d) {  // a point mass, hurried along by the commands
      state[2 + d] += 0.02 * controller.command()[d];
      state[d] += 0.02 * state[2 + d];
    }
    std::this_thread::sleep_until(next += period);
  }
  controller.on_deactivate();
  const dfx_executor_info info = controller.info();
  std::printf(
      "%d steps, delay %d: update() took %.0f us at most, plans were %d steps old at most\n"
      "%lld plans used, %lld late, %lld dropped, %lld failed; %lld steps without one\n",
      steps, info.delay, longest, oldest, static_cast<long long>(info.used),
      static_cast<long long>(info.late), static_cast<long long>(info.dropped),
      static_cast<long long>(info.failed), static_cast<long long>(info.by_source[DFX_SOURCE_HOLD]));
  return 0;
}
