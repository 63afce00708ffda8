#include "self_test.h"

#include <cstring>
#include <vector>

#include "planner.h"
#include "refused.h"

namespace df {
namespace {

std::string name_of(const char* isa, const char* array) { return std::string("test.") + isa + "." + array; }

void same(const std::vector<float>& found, const float* recorded, const std::string& name) {
  if (std::memcmp(found.data(), recorded, found.size() * sizeof(float)) == 0) return;
  size_t i = 0;
  while (std::memcmp(&found[i], recorded + i, sizeof(float)) == 0) ++i;
  refuse(DFX_DIFFERS, name + ": number " + std::to_string(i) + " is " + std::to_string(found[i]) +
                          ", recorded was " + std::to_string(recorded[i]));
}

}  // namespace

void self_test(const Bundle& bundle) {
  const Tensors& tensors = bundle.tensors();
  const char* isa = nullptr;  // the widest that is both here and recorded
  for (int32_t i = 0; const char* const name = df_isa_name(i); ++i) {
    if (tensors.find(name_of(name, "actions"))) isa = name;
  }
  if (!isa) refuse(DFX_UNSUPPORTED, "no plan was recorded for an instruction set of this CPU");
  const int32_t batch = static_cast<int32_t>(bundle.size(kSizeTestBatch)),
                horizon = bundle.variants[0].horizon;
  const int64_t steps = int64_t{batch} * horizon, conditions = bundle.size(kSizeTestConditions);
  const int64_t a = bundle.action_dim(), o = bundle.observation_dim();
  const float* const actions = tensors.f32(name_of(isa, "actions"), steps * a);
  const float* const observations = tensors.f32(name_of(isa, "observations"), steps * o);
  const float* const values = tensors.f32(name_of(isa, "values"), batch);
  const int64_t* const times = tensors.i64("test.times", conditions);
  const double* const given = tensors.f64("test.observations", conditions * o);
  const uint8_t* const which = tensors.data("test.given", Type::kU8, conditions * o);

  dfx_options options{};
  options.struct_size = sizeof options;
  options.batch = batch;
  options.horizon = horizon;
  options.isa = isa;
  Planner planner(bundle, options);
  std::vector<dfx_condition> asked;
  for (int64_t i = 0; i < conditions; ++i) {
    if (times[i] < 0 || times[i] >= horizon) refuse(DFX_FILE, "tensor test.times: beyond the horizon");
    asked.push_back({sizeof(dfx_condition), static_cast<int32_t>(times[i]), given + i * o, which + i * o});
  }
  std::vector<float> found_actions(steps * a), found_observations(steps * o), found_values(batch);
  dfx_request request{};
  request.struct_size = sizeof request;
  request.n_conditions = static_cast<int32_t>(conditions);
  request.seed = kTestSeed;
  request.number = kTestNumber;
  dfx_plan plan{};
  plan.struct_size = sizeof plan;
  plan.actions = found_actions.data();
  plan.observations = found_observations.data();
  plan.values = found_values.data();
  plan.n_actions = found_actions.size();
  plan.n_observations = found_observations.size();
  plan.n_values = found_values.size();
  const dfx_status status = planner.plan(request, asked.data(), &plan);
  if (status != DFX_OK) refuse(status, planner.error());
  same(found_actions, actions, name_of(isa, "actions"));
  same(found_observations, observations, name_of(isa, "observations"));
  same(found_values, values, name_of(isa, "values"));
}

}  // namespace df
