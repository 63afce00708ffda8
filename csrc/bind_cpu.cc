// The Python module diffuser_fast._cpu: buffers checked, then pointers. backends/cpu is its only user.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>
#include <memory>
#include <optional>
#include <string>
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

// Keeps the arrays of one df_program alive.
struct ProgramArrays {
  explicit ProgramArrays(const py::tuple& parts) : keep(parts) {
    const auto count = [](const py::handle& object, int width) {
      return static_cast<int32_t>(py::cast<py::buffer>(object).request().size / width);
    };
    program.n_ops = count(parts[0], df::kOpFields);
    program.n_values = count(parts[1], df::kValueFields);
    program.n_inputs = count(parts[2], 1);
    program.n_outputs = count(parts[3], 1);
    program.ops = array<int32_t>(parts[0], int64_t{program.n_ops} * df::kOpFields, "ops");
    program.values = array<int32_t>(parts[1], int64_t{program.n_values} * df::kValueFields, "values");
    program.inputs = array<int32_t>(parts[2], program.n_inputs, "inputs");
    program.outputs = array<int32_t>(parts[3], program.n_outputs, "outputs");
    for (const py::handle& weight : py::cast<py::list>(parts[4])) {
      weights.push_back(array<float>(weight, py::cast<py::buffer>(weight).request().size, "weights"));
    }
    program.weights = weights.data();
    program.n_weights = static_cast<int32_t>(weights.size());
    program.layouts = array<int32_t>(parts[5], program.n_weights, "layouts");
    program.size = py::cast<int64_t>(parts[6]);
    program.halo = py::cast<int32_t>(parts[7]);
    program.table_width = py::cast<int32_t>(parts[8]);
  }

  int64_t elements(int32_t value) const {
    const int32_t* fields = program.values + int64_t{value} * df::kValueFields;
    return int64_t{fields[df::kValueChannels]} * fields[df::kValueLength];
  }

  py::object keep;
  std::vector<const float*> weights;
  df_program program{};
};

class Engine {
 public:
  Engine(const py::list& programs, const py::object& columns, const py::object& guide_steps,
         const py::object& denoiser_table, const py::object& guide_table, const py::object& clip_low,
         const py::object& clip_high, int rows, int batch, int horizon, int depth, int threads,
         const std::vector<int32_t>& cores, int group, bool profile, const std::optional<std::string>& isa)
      : keep_({programs, denoiser_table, guide_table}) {
    if (!cores.empty() && cores.size() != size_t(threads))
      throw py::value_error("cores: one for each thread");
    for (const py::handle& parts : programs) {
      programs_.push_back(parts.is_none() ? nullptr
                                          : std::make_unique<ProgramArrays>(py::cast<py::tuple>(parts)));
    }
    programs_.resize(3);
    desc_.denoiser = program(0);
    desc_.gradient = program(1);
    desc_.value = program(2);
    desc_.columns = array<float>(columns, int64_t{rows} * DF_COLUMNS, "columns");
    desc_.guide_steps = array<int32_t>(guide_steps, rows, "guide_steps");
    desc_.rows = rows;
    desc_.denoiser_table = time_table(denoiser_table, 0, "denoiser_table");
    desc_.guide_table = time_table(guide_table, 1, "guide_table");
    desc_.clip_low = optional_array<float>(clip_low, depth, "clip_low");
    desc_.clip_high = optional_array<float>(clip_high, depth, "clip_high");
    desc_.batch = batch;
    desc_.horizon = horizon;
    desc_.depth = depth;
    desc_.threads = threads;
    desc_.cores = cores.empty() ? nullptr : cores.data();
    desc_.group = group;
    desc_.profile = profile;
    desc_.isa = isa ? isa->c_str() : nullptr;
    char error[256] = "";
    engine_.reset(df_open(&desc_, error, sizeof error));
    if (!engine_) throw py::value_error(error);
  }

  int plan(const py::object& mask, const py::object& inpaint_values, int inpaint_batch,
           const py::object& tape, uint64_t seed, uint32_t plan, const py::object& x, int start,
           const py::object& denoiser_table, const py::object& guide_table, int candidates,
           const py::object& x_out, const py::object& values, const py::object& order,
           const py::object& chain) {
    const int64_t elements = int64_t{desc_.horizon} * desc_.depth, n = desc_.batch;
    df_args a{};
    a.mask = array<uint8_t>(mask, elements, "mask");
    a.inpaint_values = array<float>(inpaint_values, inpaint_batch * elements, "inpaint_values");
    a.inpaint_batch = inpaint_batch;
    a.tape = optional_array<float>(tape, (desc_.rows + 1) * n * elements, "noise");
    a.seed = seed;
    a.plan = plan;
    a.x = optional_array<float>(x, n * elements, "x");
    a.start = start;
    a.denoiser_table = time_table(denoiser_table, 0, "tables");
    a.guide_table = time_table(guide_table, 1, "tables");
    a.candidates = candidates;
    a.x_out = array<float>(x_out, n * elements, "x_out", true);
    a.values = array<float>(values, n, "values", true);
    a.order = array<int64_t>(order, n, "order", true);
    a.chain = optional_array<float>(chain, n * (desc_.rows + 1 - start) * elements, "chain", true);
    if ((inpaint_batch != 1 && inpaint_batch != n) || start < 0 || start > desc_.rows || candidates < 1 ||
        n % candidates) {
      throw py::value_error("inpaint_values, start or candidates: out of range");
    }
    const py::gil_scoped_release release;
    return df_plan(engine_.get(), &a);
  }

  void run(int role, const py::list& inputs, const py::object& table_row, const py::list& outputs,
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
          array<float>(inputs[i], desc_.batch * arrays->elements(arrays->program.inputs[i]), "input"));
    }
    for (int i = 0; i < arrays->program.n_outputs; ++i) {
      out.push_back(array<float>(outputs[i], desc_.batch * arrays->elements(arrays->program.outputs[i]),
                                 "output", true));
    }
    const float* const row = optional_array<float>(table_row, arrays->program.table_width, "table_row");
    const py::gil_scoped_release release;
    df_run(engine_.get(), role, in.data(), row, out.data(), fill);
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

 private:
  const df_program* program(int role) const { return programs_[role] ? &programs_[role]->program : nullptr; }

  const float* time_table(const py::object& object, int role, const char* name) const {
    const int64_t width = programs_[role] ? programs_[role]->program.table_width : 0;
    return width ? optional_array<float>(object, desc_.rows * width, name) : nullptr;
  }

  struct Close {
    void operator()(df_engine* engine) const {
      const py::gil_scoped_release release;
      df_close(engine);
    }
  };

  std::vector<py::object> keep_;
  std::vector<std::unique_ptr<ProgramArrays>> programs_;
  df_desc desc_{};
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
  m.def("philox", &philox);
  m.def("normals", &normals);
  m.attr("COLUMNS") = py::make_tuple("p", "q", "a", "b", "d", "s", "gx", "g0");
  py::class_<Engine>(m, "Engine")
      .def(py::init<const py::list&, const py::object&, const py::object&, const py::object&,
                    const py::object&, const py::object&, const py::object&, int, int, int, int, int,
                    const std::vector<int32_t>&, int, bool, const std::optional<std::string>&>(),
           py::kw_only(), py::arg("programs"), py::arg("columns"), py::arg("guide_steps"),
           py::arg("denoiser_table"), py::arg("guide_table"), py::arg("clip_low"), py::arg("clip_high"),
           py::arg("rows"), py::arg("batch"), py::arg("horizon"), py::arg("depth"), py::arg("threads"),
           py::arg("cores"), py::arg("group"), py::arg("profile"), py::arg("isa"))
      .def("plan", &Engine::plan, py::kw_only(), py::arg("mask"), py::arg("inpaint_values"),
           py::arg("inpaint_batch"), py::arg("tape"), py::arg("seed"), py::arg("plan"), py::arg("x"),
           py::arg("start"), py::arg("denoiser_table"), py::arg("guide_table"), py::arg("candidates"),
           py::arg("x_out"), py::arg("values"), py::arg("order"), py::arg("chain"))
      .def("run", &Engine::run)
      .def("profile", &Engine::profile)
      .def_property_readonly("isa", &Engine::isa)
      .def_property_readonly("threads", &Engine::threads)
      .def_property_readonly("intra_op", &Engine::intra_op)
      .def_property_readonly("group", &Engine::group);
}
