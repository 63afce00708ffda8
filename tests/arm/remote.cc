// The engine in a process of its own, perhaps of another architecture: requests come in on standard input, answers go
// out on standard output. remote.py is the other end, and looks to Python like diffuser_fast._cpu.
// A message is a list of fields: their number, then of each its bytes (-1: none) and those; all numbers are int64.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "api.h"
#include "diffuser_fast.h"
#include "ops.gen.h"

namespace {

void read_bytes(void* to, size_t n) {
  if (n && std::fread(to, 1, n, stdin) != n) std::exit(std::feof(stdin) ? 0 : 1);
}

// The fields of a request, taken one after another.
class Request {
 public:
  Request() {
    int64_t count = 0;
    read_bytes(&count, sizeof count);
    for (int64_t i = 0; i < count; ++i) {
      int64_t bytes = 0;
      read_bytes(&bytes, sizeof bytes);
      fields_.emplace_back();
      if (bytes < 0) continue;
      fields_.back() = std::make_unique<std::vector<char>>(bytes);
      read_bytes(fields_.back()->data(), bytes);
    }
  }

  template <class T>
  T* array(int64_t* n = nullptr) {
    std::vector<char>* const field = fields_.at(at_++).get();
    if (n) *n = field ? static_cast<int64_t>(field->size() / sizeof(T)) : 0;
    return field ? reinterpret_cast<T*>(field->data()) : nullptr;
  }
  int64_t number() { return *array<int64_t>(); }
  std::string text() {
    int64_t n = 0;
    const char* const chars = array<char>(&n);
    return std::string(chars, n);
  }

 private:
  std::vector<std::unique_ptr<std::vector<char>>> fields_;
  size_t at_ = 0;
};

class Answer {
 public:
  ~Answer() {
    const int64_t count = static_cast<int64_t>(fields_.size());
    std::fwrite(&count, sizeof count, 1, stdout);
    for (const std::string& field : fields_) {
      const int64_t bytes = static_cast<int64_t>(field.size());
      std::fwrite(&bytes, sizeof bytes, 1, stdout);
      std::fwrite(field.data(), 1, bytes, stdout);
    }
    std::fflush(stdout);
  }

  void text(const char* words) { fields_.emplace_back(words); }
  void number(int64_t x) { array(&x, 1); }
  template <class T>
  void array(const T* x, int64_t n) {
    fields_.emplace_back(reinterpret_cast<const char*>(x), n * sizeof(T));
  }
  template <class T>
  void array(const std::vector<T>& x) {
    array(x.data(), static_cast<int64_t>(x.size()));
  }

 private:
  std::vector<std::string> fields_;
};

struct ProgramArrays {
  std::vector<const float*> weights;
  std::vector<int64_t> sizes;
  df_program program{};

  explicit ProgramArrays(Request& r) {
    const auto numbers = [&](int width, const int32_t** out, int32_t* n) {
      int64_t size = 0;
      *out = r.array<int32_t>(&size);
      *n = static_cast<int32_t>(size / width);
    };
    numbers(df::kOpFields, &program.ops, &program.n_ops);
    numbers(df::kValueFields, &program.values, &program.n_values);
    numbers(1, &program.inputs, &program.n_inputs);
    numbers(1, &program.outputs, &program.n_outputs);
    program.n_weights = static_cast<int32_t>(r.number());
    for (int32_t i = 0; i < program.n_weights; ++i) {
      sizes.push_back(0);
      weights.push_back(r.array<float>(&sizes.back()));
    }
    program.weights = weights.data();
    program.weight_sizes = sizes.data();
    program.layouts = r.array<int32_t>();
    program.size = r.number();
    program.table_width = static_cast<int32_t>(r.number());
  }

  int64_t elements(int32_t value) const {
    const int32_t* fields = program.values + int64_t{value} * df::kValueFields;
    return int64_t{fields[df::kValueChannels]} * fields[df::kValueLength];
  }
};

df_tables tables(Request& r) {
  df_tables found{};
  found.per_step = r.array<float>();
  found.per_sample = r.array<float>();
  found.samples = static_cast<int32_t>(r.number());
  return found;
}

// An engine and the request that opened it, whose arrays it reads.
struct Opened {
  std::unique_ptr<Request> keep;
  std::unique_ptr<ProgramArrays> programs[3];
  std::string isa;
  df_loop loop{};
  df_engine* engine = nullptr;

  Opened(std::unique_ptr<Request> request, char (&error)[256]) : keep(std::move(request)) {
    Request& r = *keep;
    for (auto& program : programs) {
      if (r.number()) program = std::make_unique<ProgramArrays>(r);
    }
    const auto found = [&](int role) { return programs[role] ? &programs[role]->program : nullptr; };
    loop.denoiser = found(0), loop.gradient = found(1), loop.value = found(2);
    loop.columns = r.array<float>();
    loop.guide_steps = r.array<int32_t>();
    loop.denoiser_tables = tables(r);
    loop.guide_tables = tables(r);
    loop.table_steps = r.array<int32_t>();
    loop.clip_low = r.array<float>();
    loop.clip_high = r.array<float>();
    df_cpu_options options{};
    options.cores = r.array<int32_t>();
    for (int32_t* field : {&loop.table_count, &loop.batch, &loop.horizon, &loop.depth, &loop.rows,
                           &options.threads, &options.group, &options.profile}) {
      *field = static_cast<int32_t>(r.number());
    }
    isa = r.text();
    options.isa = isa.empty() ? nullptr : isa.c_str();
    engine = df_open(&loop, &options, error, sizeof error);
  }
  ~Opened() { df_close(engine); }
};

void plan(Opened& o, Request& r, Answer& answer) {
  df_args a{};
  const int64_t n = o.loop.batch, elements = int64_t{o.loop.horizon} * o.loop.depth;
  a.mask = r.array<uint8_t>();
  a.inpaint_values = r.array<float>();
  a.inpaint_batch = static_cast<int32_t>(r.number());
  a.start = static_cast<int32_t>(r.number());
  a.x = r.array<float>();
  a.tape = r.array<float>();
  a.seed = static_cast<uint64_t>(r.number());
  a.plan = static_cast<uint32_t>(r.number());
  a.candidates = static_cast<int32_t>(r.number());
  a.denoiser_tables = tables(r);
  a.guide_tables = tables(r);
  const bool wants_chain = r.number();
  df_schedule s{};
  std::vector<int32_t> ran;
  if (r.number()) {
    s.rows = r.array<int32_t>();
    s.n_schedules = static_cast<int32_t>(r.number());
    s.most = static_cast<int32_t>(r.number());
    s.skipped = static_cast<int32_t>(r.number());
    ran.resize(int64_t{df_groups(o.engine)} * s.most);
    s.ran = ran.data();
    a.schedule = &s;
  }
  std::vector<float> x(n * elements), values(n), chain;
  std::vector<int64_t> order(n);
  if (wants_chain) chain.resize(n * elements * (a.schedule ? s.most + 1 : o.loop.rows + 1 - a.start));
  a.x_out = x.data(), a.values = values.data(), a.order = order.data();
  a.chain = wants_chain ? chain.data() : nullptr;
  int32_t detail = -1;
  const char* sentence = nullptr;
  answer.number(df_plan(o.engine, &a, &detail, &sentence));
  answer.number(detail);
  answer.text(sentence ? sentence : "");
  answer.array(x);
  answer.array(values);
  answer.array(order);
  answer.array(chain);
  answer.array(ran);
}

void first_noise(Opened& o, Request& r, Answer& answer) {
  const uint64_t seed = static_cast<uint64_t>(r.number());
  const uint32_t plan = static_cast<uint32_t>(r.number());
  const int candidates = static_cast<int>(r.number());
  const int64_t elements = int64_t{o.loop.horizon} * o.loop.depth;
  std::vector<float> x(o.loop.batch * elements);
  for (int n = 0; n < o.loop.batch; ++n)
    df_noise(o.engine, seed, plan + n / candidates, 0, n % candidates, x.data() + n * elements);
  answer.array(x);
}

void run(Opened& o, Request& r, Answer& answer) {
  const int32_t role = static_cast<int32_t>(r.number());
  const ProgramArrays& arrays = *o.programs[role];
  std::vector<const float*> in;
  std::vector<std::vector<float>> made;
  std::vector<float*> out;
  for (int i = 0; i < arrays.program.n_inputs; ++i) in.push_back(r.array<float>());
  const float* const row = r.array<float>();
  const int32_t samples = static_cast<int32_t>(r.number());
  const float fill = *r.array<float>();
  for (int i = 0; i < arrays.program.n_outputs; ++i) {
    made.emplace_back(o.loop.batch * arrays.elements(arrays.program.outputs[i]));
    out.push_back(made.back().data());
  }
  answer.number(df_run(o.engine, role, in.data(), row, samples, out.data(), fill));
  for (const auto& y : made) answer.array(y);
}

void function(const std::string& name, Request& r, Answer& answer) {
  const std::string isa = r.text();
  int64_t n = 0;
  if (name == "function") {
    const int32_t which = static_cast<int32_t>(r.number());
    const float* const x = r.array<float>(&n);
    std::vector<float> y(n);
    answer.number(df_function(isa.c_str(), which, x, y.data(), n));
    answer.array(y);
  } else if (name == "philox") {
    const uint64_t seed = static_cast<uint64_t>(r.number());
    const uint32_t* const counter = r.array<uint32_t>(&n);
    std::vector<uint32_t> words(n);
    answer.number(df_philox(isa.c_str(), seed, counter, words.data(), n / 4));
    answer.array(words);
  } else {
    const uint32_t* const words = r.array<uint32_t>(&n);
    std::vector<float> y(n);
    answer.number(df_normals(isa.c_str(), words, y.data(), n / 4));
    answer.array(y);
  }
}

// The self-test of a bundle in the C library: its status, and what it says.
void self_test(const std::string& path, Answer& answer) {
  char error[256] = "";
  dfx_bundle* bundle = nullptr;
  dfx_status status = dfx_bundle_open(path.c_str(), error, sizeof error, &bundle);
  if (status == DFX_OK) status = dfx_bundle_self_test(bundle, error, sizeof error);
  dfx_bundle_close(bundle);
  answer.number(status);
  answer.text(error);
}

}  // namespace

int main() {
  std::map<int64_t, std::unique_ptr<Opened>> engines;
  int64_t opened = 0;
  for (;;) {
    auto request = std::make_unique<Request>();
    const std::string name = request->text();
    Answer answer;
    if (name == "isas") {
      for (int i = 0; df_isa_name(i); ++i) answer.text(df_isa_name(i));
    } else if (name == "open") {
      char error[256] = "";
      auto made = std::make_unique<Opened>(std::move(request), error);
      answer.text(error);
      if (!made->engine) continue;
      answer.number(opened);
      answer.text(df_isa(made->engine));
      for (int32_t (*fact)(const df_engine*) : {df_threads, df_intra_op, df_group, df_groups})
        answer.number(fact(made->engine));
      engines[opened++] = std::move(made);
    } else if (name == "function" || name == "philox" || name == "normals") {
      function(name, *request, answer);
    } else if (name == "self_test") {
      self_test(request->text(), answer);
    } else {
      const int64_t id = request->number();
      Opened& o = *engines.at(id);
      if (name == "plan") plan(o, *request, answer);
      if (name == "run") run(o, *request, answer);
      if (name == "first_noise") first_noise(o, *request, answer);
      if (name == "cancel") df_cancel(o.engine);
      if (name == "close") engines.erase(id);
      if (name == "state") {
        answer.number(df_shares(o.engine));
        answer.number(df_dissolved(o.engine));
        answer.number(df_resumed(o.engine));
      }
    }
  }
}
