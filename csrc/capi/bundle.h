// A bundle in memory: everything that diffuser_fast/bundle/contents.py wrote, verified.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "../cpu/memory.h"
#include "api.h"
#include "bundle.gen.h"
#include "diffuser_fast.h"
#include "normalizer.h"
#include "tensors.h"

namespace df {

// One network at one horizon, with the arrays that df_program points to.
struct Network {
  df_program program{};
  std::vector<const float*> weights;
  std::vector<int64_t> weight_sizes;
};

struct Variant {
  int32_t batch, horizon;                // batch 0: any
  std::unique_ptr<Network> networks[3];  // denoiser, gradient, value
};

class Bundle {
 public:
  // size: bytes of the file, which is in `memory`; digest: of all but the last 64. Refused says what is wrong with it.
  Bundle(Memory memory, int64_t size, uint64_t digest);

  int64_t size(int field) const { return sizes_[field]; }
  int32_t action_dim() const { return static_cast<int32_t>(sizes_[kSizeActionDim]); }
  int32_t observation_dim() const { return static_cast<int32_t>(sizes_[kSizeObservationDim]); }
  int32_t depth() const { return action_dim() + observation_dim(); }
  int32_t rows() const { return static_cast<int32_t>(sizes_[kSizeRows]); }  // of a whole plan
  int32_t menu_rows() const { return static_cast<int32_t>(sizes_[kSizeMenuRows]); }
  bool guided() const { return sizes_[kSizeGuided] != 0; }

  // NULL: there is none for these.
  const Variant* variant(int32_t batch, int32_t horizon) const;
  // What an engine of it is opened with, but for threads, cores and instruction set.
  df_loop loop(const Variant& variant, int32_t batch) const;

  const Tensors& tensors() const { return tensors_; }
  const void* memory() const { return memory_.data(); }
  int64_t bytes() const { return bytes_; }

  // Schedules that a plan may begin with, best first; all[at[i]] .. all[at[i + 1]] - 1 are the rows of one.
  struct Choices {
    const int32_t *at, *all;
    int32_t count;
  };
  Choices choices() const;
  // What leads from each row to the end of a plan: first_path, path_at, path_rows and their numbers. No rows, no costs.
  df_schedule paths() const;
  // The training step of each row.
  const int64_t* training_steps() const { return tensors_.i64("rows.t", menu_rows()); }

  std::vector<Variant> variants;
  Normalizer observations, actions;
  // Handles that hold it.
  mutable std::atomic<int32_t> references{1};

 private:
  void check_sizes();
  void check_menu();
  void read_variants();
  std::unique_ptr<Network> network(const std::string& name, int64_t size, int64_t width);
  int64_t width(int role) const;

  mutable Memory memory_;
  int64_t bytes_;
  Tensors tensors_;
  const int64_t* sizes_;
  const int64_t* variant_rows_ = nullptr;
  std::vector<const float*> weights_;
  std::vector<int64_t> weight_sizes_;
};

}  // namespace df
