// The Python module diffuser_fast._cuda: devices, memory, and plans replayed as one graph. backends/cuda is its only
// user. Records (cuda/stage.gen.h) come as bytes, memory as numbers; what they mean is not checked here.
#include <cuda_runtime.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>

#include "cuda/launch.h"

namespace py = pybind11;

namespace {

void check(int error, const char* what) {
  if (error) throw std::runtime_error(std::string(what) + ": " + df_cuda_error(error));
}

// Makes a device the thread's own for a while; the caller may use another.
class On {
 public:
  explicit On(int device) {
    check(cudaGetDevice(&before_), "device");
    check(cudaSetDevice(device), "device");
  }
  ~On() { cudaSetDevice(before_); }

 private:
  int before_ = 0;
};

// Why nothing can run here, in the runtime's words, or None.
py::object why_not() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) return py::str(df_cuda_error(error));
  if (count == 0) return py::str("there is no CUDA device");
  return py::none();
}

py::dict properties(int device) {
  cudaDeviceProp p;
  check(cudaGetDeviceProperties(&p, device), "device");
  py::dict found;
  found["name"] = std::string(p.name);
  found["capability"] = 10 * p.major + p.minor;
  found["multiprocessors"] = p.multiProcessorCount;
  found["shared_bytes"] = p.sharedMemPerBlockOptin;
  return found;
}

df::Arguments arguments_of(const py::bytes& record) {
  const std::string bytes = record;
  df::Arguments made;
  if (bytes.size() != sizeof made) throw py::value_error("arguments: not a record of this engine");
  std::memcpy(&made, bytes.data(), sizeof made);
  return made;
}

// A device's memory.
class Memory {
 public:
  Memory(int device, size_t bytes) : device_(device), bytes_(bytes) {
    const On on(device);
    check(cudaMalloc(&at_, bytes ? bytes : 1), "memory");
    check(cudaMemset(at_, 0, bytes), "memory");
  }
  ~Memory() { cudaFree(at_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  uintptr_t pointer() const { return reinterpret_cast<uintptr_t>(at_); }

  // Waits.
  void upload(const py::buffer& from) {
    const py::buffer_info info = from.request();
    const size_t bytes = size_t(info.size * info.itemsize);
    if (bytes > bytes_) throw py::value_error("upload: more than there is room for");
    const On on(device_);
    check(cudaMemcpy(at_, info.ptr, bytes, cudaMemcpyHostToDevice), "upload");
  }

 private:
  int device_;
  size_t bytes_;
  void* at_ = nullptr;
};

// Host memory that the device copies from and to by itself.
class Host {
 public:
  explicit Host(size_t floats) : floats_(floats) {
    check(cudaHostAlloc(reinterpret_cast<void**>(&at_), 4 * floats, cudaHostAllocPortable), "pinned memory");
    std::memset(at_, 0, 4 * floats);
  }
  ~Host() { cudaFreeHost(at_); }
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  float* at() const { return at_; }
  size_t floats() const { return floats_; }

 private:
  float* at_ = nullptr;
  size_t floats_;
};

using Launch = int(const df::Arguments*, void*);

Launch* launch_of(const std::string& launches) {
  if (launches == "stages") return df_cuda_stages;
  if (launches == "loop") return df_cuda_loop;
  if (launches == "cluster") return df_cuda_cluster;
  if (launches == "async") return df_cuda_async;
  throw py::value_error("launches: no such way");
}

// A plan: words [0, up) of the host's staging memory to the device's, kernels, words [down, all) back. It is run once as
// it is, which loads the kernels (that may not happen during a capture), and then captured. Without a graph it is run as
// it is each time, with the same result.
class Replay {
 public:
  Replay(int device, const py::bytes& record, const std::string& launches, std::shared_ptr<Host> host,
         std::shared_ptr<Memory> there, size_t up, size_t down, uintptr_t stream)
      : device_(device),
        arguments_(arguments_of(record)),
        launch_(launch_of(launches)),
        host_(std::move(host)),
        there_(std::move(there)),
        up_(up),
        down_(down),
        stream_(reinterpret_cast<cudaStream_t>(stream)) {
    if (up > host_->floats() || down > host_->floats()) throw py::value_error("staging: beyond its end");
    const On on(device_);
    if (!stream_) {
      check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "stream");
      own_ = true;
    }
    try {
      check(df_cuda_prepare(), "kernels");
      if ((launch_ == df_cuda_cluster || launch_ == df_cuda_async) && df_cuda_clusters(&arguments_) == 0)
        throw std::runtime_error("launches: this GPU holds no cluster of eight such blocks");
      check(enqueue(), "plan");
      check(cudaStreamSynchronize(stream_), "plan");
      capture();
    } catch (...) {
      close();
      throw;
    }
  }
  ~Replay() { close(); }
  Replay(const Replay&) = delete;
  Replay& operator=(const Replay&) = delete;

  // Waits for the end, without the GIL.
  void run() {
    const py::gil_scoped_release released;
    const On on(device_);
    check(graph_ ? int(cudaGraphLaunch(graph_, stream_)) : enqueue(), "plan");
    check(cudaStreamSynchronize(stream_), "plan");
  }

  // Why there is no graph, or None.
  py::object reason() const {
    return reason_.empty() ? py::object(py::none()) : py::object(py::str(reason_));
  }

 private:
  int enqueue() {
    float* const device = reinterpret_cast<float*>(there_->pointer());
    int error = cudaMemcpyAsync(device, host_->at(), 4 * up_, cudaMemcpyHostToDevice, stream_);
    if (!error) error = launch_(&arguments_, stream_);
    if (error) return error;
    return cudaMemcpyAsync(host_->at() + down_, device + down_, 4 * (host_->floats() - down_),
                           cudaMemcpyDeviceToHost, stream_);
  }

  void capture() {
    cudaGraph_t graph = nullptr;
    int error = cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal);
    if (!error) {
      error = enqueue();
      const int ended = cudaStreamEndCapture(stream_, &graph);
      error = error ? error : ended;
    }
    if (!error) error = cudaGraphInstantiate(&graph_, graph, 0);
    if (graph) cudaGraphDestroy(graph);
    if (error) {
      graph_ = nullptr;
      reason_ = std::string("CUDA refused to capture a graph: ") + df_cuda_error(error);
      cudaGetLastError();
    }
  }

  void close() {
    if (graph_) cudaGraphExecDestroy(graph_);
    if (own_) cudaStreamDestroy(stream_);
  }

  int device_;
  df::Arguments arguments_;
  Launch* launch_;
  std::shared_ptr<Host> host_;
  std::shared_ptr<Memory> there_;
  size_t up_, down_;
  cudaStream_t stream_;
  bool own_ = false;
  cudaGraphExec_t graph_ = nullptr;
  std::string reason_;
};

}  // namespace

PYBIND11_MODULE(_cuda, m) {
  m.doc() = "The CUDA engine; see backends/cuda.";
  m.attr("ARGUMENTS_BYTES") = sizeof(df::Arguments);
  m.def("why_not", &why_not, "Why nothing can run here, or None.");
  m.def("properties", &properties, py::arg("device"));
  m.def("shared_bytes", [](const py::bytes& record) {
    const df::Arguments a = arguments_of(record);
    return df_cuda_shared_bytes(&a);
  });
  py::class_<Memory, std::shared_ptr<Memory>>(m, "Memory")
      .def(py::init<int, size_t>(), py::arg("device"), py::arg("bytes"))
      .def_property_readonly("pointer", &Memory::pointer)
      .def("upload", &Memory::upload);
  py::class_<Host, std::shared_ptr<Host>>(m, "Host", py::buffer_protocol())
      .def(py::init<size_t>(), py::arg("floats"))
      .def_buffer([](Host& self) { return py::buffer_info(self.at(), py::ssize_t(self.floats())); });
  py::class_<Replay>(m, "Replay")
      .def(py::init<int, const py::bytes&, const std::string&, std::shared_ptr<Host>, std::shared_ptr<Memory>,
                    size_t, size_t, uintptr_t>(),
           py::arg("device"), py::arg("arguments"), py::arg("launches"), py::arg("host"), py::arg("there"),
           py::arg("up"), py::arg("down"), py::arg("stream") = 0)
      .def_property_readonly("reason", &Replay::reason)
      .def("__call__", &Replay::run);
}
