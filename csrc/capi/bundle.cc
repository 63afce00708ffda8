#include "bundle.h"

#include <utility>

#include "../cpu/schedule.h"
#include "../cpu/verify.h"
#include "ops.gen.h"
#include "refused.h"

namespace df {
namespace {

const char* const kRoleNames[] = {"denoiser", "gradient", "value"};
// Far beyond any planner, and little enough for whatever is multiplied of them.
constexpr int64_t kMostDim = 1 << 16, kMostRows = 1 << 20, kMostVariants = 1 << 12, kMostWeights = 1 << 20,
                  kMostBatch = 1 << 20, kMostArena = 1 << 27;

void within(const char* what, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return;
  refuse(DFX_FILE, std::string(what) + ": found " + std::to_string(value) + ", expected " +
                       std::to_string(low) + " to " + std::to_string(high));
}

// Beyond the last number of any value nothing is used: a program may not ask for more.
int64_t needed(const df_program& program) {
  int64_t end = 0;
  for (int64_t i = 0; i < program.n_values; ++i) {
    const int32_t* const f = program.values + i * kValueFields;
    if (f[kValueOffset] < 0) continue;
    end = std::max<int64_t>(end, f[kValueOffset] + int64_t{f[kValueLength]} * f[kValueLd]);
  }
  return end;
}

}  // namespace

Bundle::Bundle(Memory memory, int64_t size, uint64_t digest)
    : memory_(std::move(memory)),
      bytes_(size),
      tensors_(reinterpret_cast<const uint8_t*>(memory_.data()), size, digest),
      sizes_(tensors_.i64("sizes", -1)) {
  check_sizes();
  for (int64_t i = 0; i < sizes_[kSizeWeights]; ++i) {
    std::string number = std::to_string(i);
    number.insert(0, number.size() < 5 ? 5 - number.size() : 0, '0');
    weight_sizes_.push_back(0);
    weights_.push_back(tensors_.f32("weights." + number, -1, &weight_sizes_.back()));
  }
  observations =
      Normalizer(tensors_, "normalizer.observations", sizes_[kSizeObservationsKind], observation_dim());
  actions = Normalizer(tensors_, "normalizer.actions", sizes_[kSizeActionsKind], action_dim());
  check_menu();
  read_variants();
}

void Bundle::check_sizes() {
  int64_t count;
  tensors_.i64("sizes", -1, &count);
  if (count < 1 || sizes_[kSizeVersion] != kBundleVersion) {
    refuse(DFX_UNSUPPORTED, "version: this library reads bundles of version " +
                                std::to_string(kBundleVersion) +
                                (count < 1 ? "" : ", found " + std::to_string(sizes_[kSizeVersion])));
  }
  tensors_.i64("sizes", kSizes);
  within("action_dim", sizes_[kSizeActionDim], 0, kMostDim);
  within("observation_dim", sizes_[kSizeObservationDim], 1, kMostDim);
  within("training_steps", sizes_[kSizeTrainingSteps], 1, kMostRows);
  within("rows", sizes_[kSizeRows], 1, kMostRows);
  within("menu_rows", sizes_[kSizeMenuRows], sizes_[kSizeRows], kMostRows);
  within("table_steps", sizes_[kSizeTableSteps], 1, sizes_[kSizeMenuRows]);
  within("choices", sizes_[kSizeChoices], 1, kMostRows);
  within("paths", sizes_[kSizePaths], 0, kMostRows);
  within("guided", sizes_[kSizeGuided], 0, 1);
  within("batch", sizes_[kSizeBatch], 1, kMostBatch);
  within("variants", sizes_[kSizeVariants], 1, kMostVariants);
  within("weights", sizes_[kSizeWeights], 0, kMostWeights);
  within("exactness", sizes_[kSizeExactness], 0, kExactnessClasses - 1);
  within("clip_array", sizes_[kSizeClipArray], 0, 1);
  within("test_batch", sizes_[kSizeTestBatch], 1, kMostBatch);
  // Actions before observations, or after them.
  const bool first = sizes_[kSizeActionsAt] == 0;
  const int64_t actions_at = first ? 0 : sizes_[kSizeObservationDim];
  const int64_t observations_at = first ? sizes_[kSizeActionDim] : 0;
  within("actions_at", sizes_[kSizeActionsAt], actions_at, actions_at);
  within("observations_at", sizes_[kSizeObservationsAt], observations_at, observations_at);
  within("test_conditions", sizes_[kSizeTestConditions], 0, 2);
}

void Bundle::check_menu() {
  const int32_t* const guide_steps = tensors_.i32("rows.guide_steps", menu_rows());
  for (int32_t k = 0; k < menu_rows(); ++k) within("rows.guide_steps", guide_steps[k], 0, kMostGuideSteps);
  const int64_t* const t = training_steps();
  for (int32_t k = 0; k < menu_rows(); ++k) within("rows.t", t[k], 0, sizes_[kSizeTrainingSteps] - 1);
  const Choices c = choices();
  for (int32_t i = 0; i < c.count; ++i) {
    within("choices.at", c.at[i + 1], int64_t{c.at[i]} + 1, int64_t{c.at[i]} + rows());
    for (int32_t r = c.at[i]; r < c.at[i + 1]; ++r) within("choices.rows", c.all[r], 0, menu_rows() - 1);
  }
  if (c.at[1] != rows()) refuse(DFX_FILE, "choices: the first is not of all denoising steps");
  tensors_.f64("rows.entries", int64_t{rows()} * 2);
  const std::vector<int64_t> free(menu_rows(), 0);
  df_schedule s = paths();
  s.rows = c.all;
  s.n_schedules = 1;
  s.most = rows();
  s.deadline = 1;
  s.cost = s.alone_cost = free.data();
  if (const char* const wrong = wrong_schedule(s, menu_rows(), 1, menu_rows())) refuse(DFX_FILE, wrong);
  for (int32_t k = 0; k < menu_rows(); ++k) {
    if (s.first_path[k + 1] == s.first_path[k])
      refuse(DFX_FILE, "paths.first: nothing leads from a row to the end");
  }
}

Bundle::Choices Bundle::choices() const {
  Choices found{};
  found.count = static_cast<int32_t>(sizes_[kSizeChoices]);
  found.at = tensors_.i32("choices.at", found.count + 1);
  int64_t numbers;
  found.all = tensors_.i32("choices.rows", -1, &numbers);
  within("choices.at", found.at[0], 0, 0);
  within("choices.at", found.at[found.count], numbers, numbers);
  return found;
}

df_schedule Bundle::paths() const {
  df_schedule found{};
  int64_t numbers;
  found.n_paths = static_cast<int32_t>(sizes_[kSizePaths]);
  found.first_path = tensors_.i32("paths.first", menu_rows() + 1);
  found.path_at = tensors_.i32("paths.at", found.n_paths + 1);
  found.path_rows = tensors_.i32("paths.rows", -1, &numbers);
  within("paths.rows", numbers, 0, INT32_MAX);
  found.n_path_rows = static_cast<int32_t>(numbers);
  return found;
}

void Bundle::read_variants() {
  const int64_t count = sizes_[kSizeVariants];
  variant_rows_ = tensors_.i64("variants", count * kVariantFields);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t* const row = variant_rows_ + i * kVariantFields;
    within("variants: batch", row[kVariantBatch], 0, kMostBatch);
    within("variants: horizon", row[kVariantHorizon], 1, kMostDim);
    within("variants: denoiser_width", row[kVariantDenoiserWidth], 0, kMostArena);
    within("variants: guide_width", row[kVariantGuideWidth], 0, kMostArena);
    Variant made{static_cast<int32_t>(row[kVariantBatch]), static_cast<int32_t>(row[kVariantHorizon]), {}};
    if (variant(made.batch, made.horizon) && made.batch) refuse(DFX_FILE, "variants: one is there twice");
    for (int role = 0; role < (guided() ? 3 : 1); ++role) {
      const std::string name = "programs." + std::to_string(i) + "." + kRoleNames[role];
      const int width = role == 0 ? kVariantDenoiserWidth : kVariantGuideWidth;
      made.networks[role] = network(name, row[kVariantDenoiserSize + role], row[width]);
    }
    variants.push_back(std::move(made));
    const df_loop found = loop(variants.back(), variants.back().batch ? variants.back().batch : 1);
    if (const std::string error = verify(found); !error.empty())
      refuse(DFX_FILE, "programs." + std::to_string(i) + ": " + error);
  }
  if (!variant(static_cast<int32_t>(sizes_[kSizeBatch]), variants[0].horizon))
    refuse(DFX_FILE, "batch: no variant has it");
}

std::unique_ptr<Network> Bundle::network(const std::string& name, int64_t size, int64_t width) {
  auto made = std::make_unique<Network>();
  df_program& p = made->program;
  const auto records = [&](const char* what, int fields, int32_t* count) {
    int64_t found;
    const int32_t* const numbers = tensors_.i32(name + what, -1, &found);
    if (found % fields != 0 || found > INT32_MAX)
      refuse(DFX_FILE, "tensor " + name + what + ": not whole records");
    *count = static_cast<int32_t>(found / fields);
    return numbers;
  };
  int32_t layouts, count;
  p.ops = records(".ops", kOpFields, &p.n_ops);
  p.values = records(".values", kValueFields, &p.n_values);
  p.inputs = records(".inputs", 1, &p.n_inputs);
  p.outputs = records(".outputs", 1, &p.n_outputs);
  p.layouts = records(".layouts", 1, &layouts);
  const int32_t* const numbers = records(".weights", 1, &count);
  if (layouts != count) refuse(DFX_FILE, "tensor " + name + ".layouts: not one for each weight");
  for (int32_t i = 0; i < count; ++i) {
    within((name + ".weights").c_str(), numbers[i], 0, static_cast<int64_t>(weights_.size()) - 1);
    made->weights.push_back(weights_[numbers[i]]);
    made->weight_sizes.push_back(weight_sizes_[numbers[i]]);
  }
  p.weights = made->weights.data();
  p.weight_sizes = made->weight_sizes.data();
  p.n_weights = count;
  within((name + ": size").c_str(), size, 0, kMostArena);
  p.size = size;
  p.table_width = static_cast<int32_t>(width);
  if (const std::string error = verify(p, name.c_str()); !error.empty()) refuse(DFX_FILE, error);
  if (size > needed(p)) refuse(DFX_FILE, name + ": size: more than its values need");
  return made;
}

const Variant* Bundle::variant(int32_t batch, int32_t horizon) const {
  for (const Variant& v : variants) {
    if ((v.batch == 0 || v.batch == batch) && v.horizon == horizon) return &v;
  }
  return nullptr;
}

df_loop Bundle::loop(const Variant& variant, int32_t batch) const {
  df_loop d{};
  const df_program** const programs[] = {&d.denoiser, &d.gradient, &d.value};
  for (int role = 0; role < 3; ++role)
    *programs[role] = variant.networks[role] ? &variant.networks[role]->program : nullptr;
  d.rows = menu_rows();
  d.columns = tensors_.f32("rows.columns", int64_t{d.rows} * kColumns);
  d.guide_steps = tensors_.i32("rows.guide_steps", d.rows);
  d.table_steps = tensors_.i32("rows.table_steps", d.rows);
  d.table_count = static_cast<int32_t>(sizes_[kSizeTableSteps]);
  d.denoiser_tables = {tensors_.f32("tables.denoiser", d.table_count * int64_t{d.denoiser->table_width}),
                       nullptr, 1};
  if (d.gradient) {
    d.guide_tables = {tensors_.f32("tables.guide", d.table_count * int64_t{d.gradient->table_width}), nullptr,
                      1};
  }
  d.depth = depth();
  if (tensors_.find("clip")) {
    d.clip_low = tensors_.f32("clip", 2 * int64_t{d.depth});
    d.clip_high = d.clip_low + d.depth;
  }
  d.batch = batch;
  d.horizon = variant.horizon;
  return d;
}

}  // namespace df
