// The Python module diffuser_fast._cpu: buffers checked, then pointers. backends/cpu is its only user.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api.h"
#include "ops.gen.h"

namespace py = pybind11;

namespace {

template <class T>
const char* formats();
template <>
const char* formats<float>() {
  return "f";
}
template <>
const char* formats<int32_t>() {
  return "il";
}
template <>
const char* formats<int64_t>() {
  return "lq";
}
template <>
const char* formats<uint32_t>() {
  return "IL";
}
template <>
const char* formats<uint8_t>() {
  return "?B";
}

// A dense array of `size` numbers of type T; ValueError names what else it is.
template <class T>
T* array(const py::handle& object, int64_t size, const char* name, bool writable = false) {
  const py::buffer_info info = py::cast<py::buffer>(object).request(writable);
  py::ssize_t step = info.itemsize;
  bool dense = true;
  for (py::ssize_t i = info.ndim; i-- > 0; step *= info.shape[i]) {
    dense &= info.shape[i] == 1 || info.strides[i] == step;
  }
  const bool type = info.itemsize == sizeof(T) && info.format.size() == 1 &&
                    std::strchr(formats<T>(), info.format[0]) != nullptr;
  if (!type || !dense || info.size != size) {
    throw py::value_error(std::string(name) + ": expected " + std::to_string(size) +
                          " dense elements of format " + formats<T>() + ", found " +
                          std::to_string(info.size) + " of format " + info.format +
                          (dense ? "" : ", not dense"));
  }
  return static_cast<T*>(info.ptr);
}

template <class T>
T* optional_array(const py::object& object, int64_t size, const char* name, bool writable = false) {
  return object.is_none() ? nullptr : array<T>(object, size, name, writable);
}

// Keeps the arrays of one df_program alive. `record`: backends/cpu/records.py, Record.
struct ProgramArrays {
  explicit ProgramArrays(const py::object& record) : keep(record) {
    const auto count = [](const py::handle& object, int width) {
      return static_cast<int32_t>(py::cast<py::buffer>(object).request().size / width);
    };
    const auto numbers = [&](const char* name, int width, const int32_t** out, int32_t* n) {
      const py::object rows = record.attr(name);
      *n = count(rows, width);
      *out = array<int32_t>(rows, int64_t{*n} * width, name);
    };
    numbers("ops", df::kOpFields, &program.ops, &program.n_ops);
    numbers("values", df::kValueFields, &program.values, &program.n_values);
    numbers("inputs", 1, &program.inputs, &program.n_inputs);
    numbers("outputs", 1, &program.outputs, &program.n_outputs);
    for (const py::handle& weight : py::cast<py::list>(record.attr("weights"))) {
      weight_sizes.push_back(py::cast<py::buffer>(weight).request().size);
      weights.push_back(array<float>(weight, weight_sizes.back(), "weights"));
    }
    program.weights = weights.data();
    program.weight_sizes = weight_sizes.data();
    program.n_weights = static_cast<int32_t>(weights.size());
    program.layouts = array<int32_t>(record.attr("layouts"), program.n_weights, "layouts");
    program.size = py::cast<int64_t>(record.attr("size"));
    program.table_width = py::cast<int32_t>(record.attr("table_width"));
  }

  int64_t elements(int32_t value) const {
    const int32_t* fields = program.values + int64_t{value} * df::kValueFields;
    return int64_t{fields[df::kValueChannels]} * fields[df::kValueLength];
  }

  py::object keep;
  std::vector<const float*> weights;
  std::vector<int64_t> weight_sizes;
  df_program program{};
};

// Lets Python's signal handlers run while a plan has released the GIL.
struct Interrupts {
  PyThreadState* released = nullptr;

  static int32_t pending(void* argument) {
    Interrupts& self = *static_cast<Interrupts*>(argument);
    PyEval_RestoreThread(self.released);
    const int raised = PyErr_CheckSignals();  // the exception stays set
    self.released = PyEval_SaveThread();
    return raised;
  }
};

class Engine {
 public:
  Engine(const py::list& programs, const py::object& columns, const py::object& guide_steps,
         const py::object& denoiser_tables, const py::object& guide_tables, const py::object& clip_low,
         const py::object& clip_high, const py::object& table_steps, int table_count, int rows, int batch,
         int horizon, int depth, int threads, const std::vector<int32_t>& cores, int group, bool profile,
         const std::optional<std::string>& isa)
      : keep_({programs, denoiser_tables, guide_tables, table_steps}) {
    if (!cores.empty() && cores.size() != size_t(threads))
      throw py::value_error("cores: one for each thread");
    for (const py::handle& parts : programs) {
      programs_.push_back(parts.is_none()
                              ? nullptr
                              : std::make_unique<ProgramArrays>(py::reinterpret_borrow<py::object>(parts)));
    }
    programs_.resize(3);
    loop_.denoiser = program(0);
    loop_.gradient = program(1);
    loop_.value = program(2);
    loop_.columns = array<float>(columns, int64_t{rows} * df::kColumns, "columns");
    loop_.guide_steps = array<int32_t>(guide_steps, rows, "guide_steps");
    loop_.rows = rows;
    if (!table_steps.is_none()) {
      loop_.table_steps = array<int32_t>(table_steps, rows, "table_steps");
      loop_.table_count = table_count;
    }
    loop_.batch = batch;
    loop_.denoiser_tables = tables(denoiser_tables, 0, "denoiser_tables");
    loop_.guide_tables = tables(guide_tables, 1, "guide_tables");
    loop_.clip_low = optional_array<float>(clip_low, depth, "clip_low");
    loop_.clip_high = optional_array<float>(clip_high, depth, "clip_high");
    loop_.horizon = horizon;
    loop_.depth = depth;
    df_cpu_options options{};
    options.threads = threads;
    options.cores = cores.empty() ? nullptr : cores.data();
    options.group = group;
    options.profile = profile;
    options.isa = isa ? isa->c_str() : nullptr;
    char error[256] = "";
    engine_.reset(df_open(&loop_, &options, error, sizeof error));
    if (!engine_) throw py::value_error(error);
  }

  // (df_status, the denoising step of DF_NOT_FINITE). interruptible: signal handlers may run in between, which is for
  // the main thread to do.
  std::pair<int, int> plan(const py::object& mask, const py::object& inpaint_values, int inpaint_batch,
                           const py::object& tape, uint64_t seed, uint32_t plan, const py::object& x,
                           int start, const py::object& denoiser_tables, const py::object& guide_tables,
                           int candidates, const py::object& x_out, const py::object& values,
                           const py::object& order, const py::object& chain, const py::object& schedule,
                           bool interruptible) {
    const int64_t elements = int64_t{loop_.horizon} * loop_.depth, n = loop_.batch;
    df_args a{};
    a.mask = array<uint8_t>(mask, elements, "mask");
    a.inpaint_values = array<float>(inpaint_values, inpaint_batch * elements, "inpaint_values");
    a.inpaint_batch = inpaint_batch;
    a.tape = optional_array<float>(tape, (loop_.rows + 1) * n * elements, "noise");
    a.seed = seed;
    a.plan = plan;
    a.x = optional_array<float>(x, n * elements, "x");
    a.start = start;
    a.denoiser_tables = tables(denoiser_tables, 0, "denoiser_tables");
    a.guide_tables = tables(guide_tables, 1, "guide_tables");
    a.candidates = candidates;
    a.x_out = array<float>(x_out, n * elements, "x_out", true);
    a.values = array<float>(values, n, "values", true);
    a.order = array<int64_t>(order, n, "order", true);
    if (start < 0 || start > loop_.rows) throw py::value_error("start: must be in 0 .. R");
    df_schedule rows{};
    Script script;
    if (!schedule.is_none()) {
      rows = schedule_of(py::cast<py::dict>(schedule), script);
      a.schedule = &rows;
    }
    const int64_t entries = a.schedule ? rows.most + 1 : loop_.rows + 1 - start;
    a.chain = optional_array<float>(chain, n * entries * elements, "chain", true);
    Interrupts interrupts;
    if (interruptible) {
      a.interrupted = Interrupts::pending;
      a.interrupted_argument = &interrupts;
    }
    int32_t detail = -1;
    const char* sentence = nullptr;
    interrupts.released = PyEval_SaveThread();
    const int32_t status = df_plan(engine_.get(), &a, &detail, &sentence);
    PyEval_RestoreThread(interrupts.released);
    if (PyErr_Occurred()) throw py::error_already_set();  // of a signal handler: KeyboardInterrupt
    if (status == DF_ARGUMENT) throw py::value_error(sentence);
    return {status, detail};
  }

  int run(int role, const py::list& inputs, const py::object& table_row, const py::list& outputs,
          float fill) {
    const ProgramArrays* const arrays = role >= 0 && role < 3 ? programs_[role].get() : nullptr;
    if (!arrays || py::len(inputs) != size_t(arrays->program.n_inputs) ||
        py::len(outputs) != size_t(arrays->program.n_outputs)) {
      throw py::value_error("run: no such program, or not its inputs and outputs");
    }
    std::vector<const float*> in;
    std::vector<float*> out;
    for (int i = 0; i < arrays->program.n_inputs; ++i) {
      in.push_back(
          array<float>(inputs[i], loop_.batch * arrays->elements(arrays->program.inputs[i]), "input"));
    }
    for (int i = 0; i < arrays->program.n_outputs; ++i) {
      out.push_back(array<float>(outputs[i], loop_.batch * arrays->elements(arrays->program.outputs[i]),
                                 "output", true));
    }
    const int64_t width = arrays->program.table_width;
    const bool each = !table_row.is_none() && py::cast<py::buffer>(table_row).request().size != width;
    const int samples = each ? loop_.batch : 1;
    if (width && table_row.is_none()) throw py::value_error("table_row: None, and the program reads it");
    const float* const row = optional_array<float>(table_row, samples * width, "table_row");
    const py::gil_scoped_release release;
    return df_run(engine_.get(), role, in.data(), row, samples, out.data(), fill);
  }

  void cancel() { df_cancel(engine_.get()); }

  // The first noise of all trajectories [N, H, D].
  void first_noise(uint64_t seed, uint32_t plan, int candidates, const py::object& out) const {
    const int64_t elements = int64_t{loop_.horizon} * loop_.depth;
    float* const x = array<float>(out, loop_.batch * elements, "out", true);
    if (candidates < 1) throw py::value_error("candidates: expected 1 or more");
    for (int n = 0; n < loop_.batch; ++n)
      df_noise(engine_.get(), seed, plan + n / candidates, 0, n % candidates, x + n * elements);
  }

  std::vector<int64_t> profile(int role) {
    std::vector<int64_t> ns(programs_[role] ? programs_[role]->program.n_ops : 0);
    df_profile(engine_.get(), role, ns.data(), static_cast<int32_t>(ns.size()));
    return ns;
  }

  std::string isa() const { return df_isa(engine_.get()); }
  int threads() const { return df_threads(engine_.get()); }
  bool intra_op() const { return df_intra_op(engine_.get()); }
  int group() const { return df_group(engine_.get()); }
  int groups() const { return df_groups(engine_.get()); }
  bool shares() const { return df_shares(engine_.get()); }
  int64_t dissolved() const { return df_dissolved(engine_.get()); }
  int64_t resumed() const { return df_resumed(engine_.get()); }

 private:
  const df_program* program(int role) const { return programs_[role] ? &programs_[role]->program : nullptr; }

  // A clock that tells a time for each step, for tests; the last one from then on.
  struct Script {
    const int64_t* times = nullptr;
    int64_t count = 0;

    static int64_t tell(void* argument, int32_t step) {
      const Script& self = *static_cast<const Script*>(argument);
      return self.times[std::min<int64_t>(step, self.count - 1)];
    }
  };

  // The fields of a df_schedule by name; clock: times that are told instead of the clock's.
  df_schedule schedule_of(const py::dict& given, Script& script) const {
    const auto size = [&](const char* name) { return py::cast<py::buffer>(given[name]).request().size; };
    df_schedule s{};
    s.n_schedules = py::cast<int32_t>(given["n_schedules"]);
    s.most = py::cast<int32_t>(given["most"]);
    if (s.n_schedules < 1 || s.most < 1) throw py::value_error("schedule: rows: there are none");
    s.rows = array<int32_t>(given["rows"], int64_t{s.n_schedules} * s.most, "schedule: rows");
    s.skipped = py::cast<int32_t>(given["skipped"]);
    s.ran = array<int32_t>(given["ran"], int64_t{df_groups(engine_.get())} * s.most, "schedule: ran", true);
    if (!given.contains("deadline")) return s;
    s.deadline = py::cast<int64_t>(given["deadline"]);
    s.once = py::cast<int64_t>(given["once"]);
    s.expected = array<int64_t>(given["expected"], df_groups(engine_.get()), "schedule: expected", true);
    s.cost = array<int64_t>(given["cost"], loop_.rows, "schedule: cost");
    s.alone_cost = array<int64_t>(given["alone_cost"], loop_.rows, "schedule: alone_cost");
    s.first_path = array<int32_t>(given["first_path"], loop_.rows + 1, "schedule: first_path");
    s.n_paths = static_cast<int32_t>(size("path_at")) - 1;
    s.path_at = array<int32_t>(given["path_at"], s.n_paths + 1, "schedule: path_at");
    s.n_path_rows = static_cast<int32_t>(size("path_rows"));
    s.path_rows = array<int32_t>(given["path_rows"], s.n_path_rows, "schedule: path_rows");
    if (given.contains("clock")) {
      script.count = size("clock");
      script.times = array<int64_t>(given["clock"], script.count, "schedule: clock");
      if (script.count < 1) throw py::value_error("schedule: clock: no times");
      s.clock = Script::tell;
      s.clock_argument = &script;
    }
    return s;
  }

  // (per_step [R, 1 or N, S], per_sample [N, S] or None), or None.
  df_tables tables(const py::object& object, int role, const char* name) const {
    df_tables found{};
    const int64_t width = programs_[role] ? programs_[role]->program.table_width : 0;
    if (object.is_none() || width == 0 || loop_.rows == 0) return found;
    const auto pair = py::cast<py::tuple>(object);
    const py::ssize_t size = py::cast<py::buffer>(pair[0]).request().size;
    const int64_t steps = loop_.table_steps ? loop_.table_count : loop_.rows;
    found.samples = size == steps * width ? 1 : loop_.batch;
    found.per_step = array<float>(pair[0], steps * found.samples * width, name);
    found.per_sample = optional_array<float>(pair[1], loop_.batch * width, name);
    return found;
  }

  struct Close {
    void operator()(df_engine* engine) const {
      const py::gil_scoped_release release;
      df_close(engine);
    }
  };

  std::vector<py::object> keep_;
  std::vector<std::unique_ptr<ProgramArrays>> programs_;
  df_loop loop_{};
  std::unique_ptr<df_engine, Close> engine_;
};

std::vector<std::string> isas() {
  std::vector<std::string> names;
  for (int i = 0; df_isa_name(i); ++i) names.push_back(df_isa_name(i));
  return names;
}

void function(const std::string& isa, int which, const py::object& x, const py::object& y) {
  const int64_t n = py::cast<py::buffer>(x).request().size;
  if (!df_function(isa.c_str(), which, array<float>(x, n, "x"), array<float>(y, n, "y", true), n)) {
    throw py::value_error("isa: this CPU does not have " + isa);
  }
}

void philox(const std::string& isa, uint64_t seed, const py::object& counter, const py::object& words) {
  const int64_t n = py::cast<py::buffer>(counter).request().size;
  if (!df_philox(isa.c_str(), seed, array<uint32_t>(counter, n, "counter"),
                 array<uint32_t>(words, n, "words", true), n / 4)) {
    throw py::value_error("isa: this CPU does not have " + isa);
  }
}

void normals(const std::string& isa, const py::object& words, const py::object& out) {
  const int64_t n = py::cast<py::buffer>(words).request().size;
  if (!df_normals(isa.c_str(), array<uint32_t>(words, n, "words"), array<float>(out, n, "normals", true),
                  n / 4)) {
    throw py::value_error("isa: this CPU does not have " + isa);
  }
}

}  // namespace

PYBIND11_MODULE(_cpu, m) {
  m.doc() = "The CPU engine; see diffuser_fast/backends/cpu.";
  m.def("isas", &isas, "Instruction sets of this CPU, narrowest first.");
  m.def("function", &function, "y = exp (0), Mish (1) or Mish's derivative (2) of x.");
  m.attr("STATUS") =
      py::dict(py::arg("ok") = int(DF_OK), py::arg("busy") = int(DF_BUSY),
               py::arg("not_finite") = int(DF_NOT_FINITE), py::arg("cancelled") = int(DF_CANCELLED));
  m.def("philox", &philox);
  m.def("normals", &normals);
  py::class_<Engine>(m, "Engine")
      .def(py::init<const py::list&, const py::object&, const py::object&, const py::object&,
                    const py::object&, const py::object&, const py::object&, const py::object&, int, int, int,
                    int, int, int, const std::vector<int32_t>&, int, bool,
                    const std::optional<std::string>&>(),
           py::kw_only(), py::arg("programs"), py::arg("columns"), py::arg("guide_steps"),
           py::arg("denoiser_tables"), py::arg("guide_tables"), py::arg("clip_low"), py::arg("clip_high"),
           py::arg("table_steps"), py::arg("table_count"), py::arg("rows"), py::arg("batch"),
           py::arg("horizon"), py::arg("depth"), py::arg("threads"), py::arg("cores"), py::arg("group"),
           py::arg("profile"), py::arg("isa"))
      .def("plan", &Engine::plan, py::kw_only(), py::arg("mask"), py::arg("inpaint_values"),
           py::arg("inpaint_batch"), py::arg("tape"), py::arg("seed"), py::arg("plan"), py::arg("x"),
           py::arg("start"), py::arg("denoiser_tables"), py::arg("guide_tables"), py::arg("candidates"),
           py::arg("x_out"), py::arg("values"), py::arg("order"), py::arg("chain"), py::arg("schedule"),
           py::arg("interruptible"))
      .def("run", &Engine::run)
      .def("cancel", &Engine::cancel)
      .def("first_noise", &Engine::first_noise)
      .def("profile", &Engine::profile)
      .def_property_readonly("isa", &Engine::isa)
      .def_property_readonly("threads", &Engine::threads)
      .def_property_readonly("intra_op", &Engine::intra_op)
      .def_property_readonly("group", &Engine::group)
      .def_property_readonly("groups", &Engine::groups)
      .def_property_readonly("shares", &Engine::shares)
      .def_property_readonly("dissolved", &Engine::dissolved)
      .def_property_readonly("resumed", &Engine::resumed);
}
