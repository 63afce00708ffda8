// Drives a point that does what the plan's observations say, as a controller manager would: 50 updates a second.
//   build/capi/controller umaze.dfb [steps]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include "controller.h"

int main(int argc, char** argv) {
  const std::string path = argc > 1 ? argv[1] : "umaze.dfb";
  const int steps = argc > 2 ? std::atoi(argv[2]) : 200;
  PlanningController controller({path, {1.0, 1.0, 0.0, 0.0}, 4});
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
  int64_t oldest = 0;
  for (int i = 0; i < steps; ++i) {
    const auto began = Clock::now();
    controller.update();
    longest = std::max(longest, std::chrono::duration<double, std::micro>(Clock::now() - began).count());
    oldest = std::max(oldest, controller.age());
    for (int d = 0; d < 2; ++d) {  // a point mass, hurried along by the commands
      state[2 + d] += 0.02 * controller.command()[d];
      state[d] += 0.02 * state[2 + d];
    }
    std::this_thread::sleep_until(next += period);
  }
  controller.on_deactivate();
  std::printf(
      "%d steps: update() took %.0f us at most, plans were %lld steps old at most, %lld steps without one\n",
      steps, longest, static_cast<long long>(oldest), static_cast<long long>(controller.held()));
  return 0;
}
