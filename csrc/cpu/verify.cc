// Every number that kernels and compile() take for granted. A program may come from anywhere: a wrong one must neither be
// run nor read or write outside of its memory.
#include "verify.h"

#include <cstring>
#include <limits>

#include "compiled.h"

namespace df {
namespace {

constexpr int kMostTaps = 4096;
constexpr int32_t kMostChannels = 1 << 20, kMostLength = 1 << 20;

struct Error {
  std::string text;
};

[[noreturn]] void fail(const std::string& text) { throw Error{text}; }

std::string found(const char* what, int64_t value, const std::string& expected) {
  return std::string(what) + ": found " + std::to_string(value) + ", expected " + expected;
}

void in_range(const char* what, int64_t value, int64_t low, int64_t high) {
  if (value < low || value > high) {
    fail(found(what, value, std::to_string(low) + " to " + std::to_string(high)));
  }
}

void equal(const char* what, int64_t value, int64_t expected) {
  if (value != expected) fail(found(what, value, std::to_string(expected)));
}

// A value of the program, as its record has it.
struct Value {
  int64_t channels, length, offset, ld, channel;
  int64_t end() const { return offset + length * ld; }
  bool made() const { return offset >= 0; }
};

Value value_of(const df_program& p, int64_t i) {
  const int32_t* f = p.values + i * kValueFields;
  return {f[kValueChannels], f[kValueLength], f[kValueOffset], f[kValueLd], f[kValueChannel]};
}

// Whether writing `a` may change `b`: they share memory, and not as columns apart of one buffer.
bool overlap(const Value& a, const Value& b) {
  if (a.offset == b.offset && a.ld == b.ld && a.length == b.length) {
    return a.channel < b.channel + b.channels && b.channel < a.channel + a.channels;
  }
  return a.offset < b.end() && b.offset < a.end();
}

class OpCheck {
 public:
  OpCheck(const df_program& p, const int32_t* fields) : p_(p), f_(fields) {}

  void run() {
    in_range("opcode", f_[kOpOpcode], 1, kFilm);
    const auto opcode = static_cast<Opcode>(f_[kOpOpcode]);
    const bool conv = opcode == kConv || opcode == kConvBlock;
    if (!conv) equal("algorithm", f_[kOpAlgorithm], -1);
    out_ = value("out", kOpOut);
    x_ = value("in", kOpIn);
    switch (opcode) {
      case kConv:
        operands(optional(kOpW2) ? 2 : 1, optional(kOpIn2), false);
        return convolution(opcode);
      case kConvBlock:
        operands(4, optional(kOpIn2), optional(kOpOut2));
        convolution(opcode);
        groups(out_);
        vectors(2, 4);
        act();
        return table(true, 1);
      case kGroupNorm:
        operands(2, false, false);
        like(x_);
        groups(x_);
        return vectors(0, 2);
      case kChannelNorm:
        operands(2, false, false);
        like(x_);
        eps();
        return vectors(0, 2);
      case kAct:
        operands(0, false, false);
        like(x_);
        return act();
      case kAdd:
        operands(0, true, false);
        like(x_);
        return like(value("in2", kOpIn2));
      case kConcat: {
        operands(0, true, false);
        const Value y = value("in2", kOpIn2);
        equal("length", y.length, x_.length);
        equal("length", out_.length, x_.length);
        return equal("channels", out_.channels, x_.channels + y.channels);
      }
      case kSlice:
        operands(0, false, false);
        equal("length", out_.length, x_.length);
        return in_range("lo", f_[kOpLo], 0, x_.channels - out_.channels);
      case kStepBias:
        operands(0, false, false);
        like(x_);
        return table(false, 1);
      case kFilm:
        operands(0, false, false);
        like(x_);
        return table(false, 2);
      case kLinearAttention:
        operands(0, false, false);
        equal("length", out_.length, x_.length);
        equal("channels", x_.channels, 3 * out_.channels);
        in_range("heads", f_[kOpHeads], 1, out_.channels);
        return equal("channels of a head", out_.channels % f_[kOpHeads], 0);
      case kGroupNormVjp:
        operands(1, true, false);
        like(x_);
        like(value("in2", kOpIn2));
        groups(x_);
        return vectors(0, 1);
      case kActVjp:
        operands(0, true, false);
        like(x_);
        like(value("in2", kOpIn2));
        return act();
      case kNormActVjp:
        operands(2, true, false);
        like(x_);
        like(value("in2", kOpIn2));
        groups(x_);
        vectors(0, 2);
        return act();
    }
    fail("opcode: unknown");
  }

 private:
  bool optional(int field) const { return f_[field] != -1; }

  Value value(const char* what, int field) const {
    in_range(what, f_[field], 0, p_.n_values - 1);
    const Value v = value_of(p_, f_[field]);
    if (!v.made()) fail(std::string(what) + ": a value that lies nowhere");
    return v;
  }

  // Exactly these are there, and the output lies where no input does.
  void operands(int weights, bool y, bool out2) const {
    const int fields[] = {kOpW, kOpW2, kOpW3, kOpW4};
    for (int i = 0; i < 4; ++i) {
      if (i < weights) {
        in_range("weight", f_[fields[i]], 0, p_.n_weights - 1);
      } else {
        equal("weight", f_[fields[i]], -1);
      }
    }
    if (!y) equal("in2", f_[kOpIn2], -1);
    if (!out2) equal("out2", f_[kOpOut2], -1);
    const Value second = y ? value("in2", kOpIn2) : x_;
    if (overlap(out_, x_) || overlap(out_, second)) fail("out: it lies where an input does");
    if (!out2) return;
    const Value other = value("out2", kOpOut2);
    equal("channels of out2", other.channels, out_.channels);
    equal("length of out2", other.length, out_.length);
    if (overlap(other, x_) || overlap(other, second) || overlap(other, out_)) {
      fail("out2: it lies where another operand does");
    }
  }

  void like(const Value& v) const {
    equal("channels", v.channels, out_.channels);
    equal("length", v.length, out_.length);
  }

  void act() const { in_range("act", f_[kOpAct], 0, kActs - 1); }

  void eps() const {
    float x;
    std::memcpy(&x, f_ + kOpEps, sizeof x);
    if (!(x >= 0 && x <= std::numeric_limits<float>::max())) fail("eps: not a finite number, at least 0");
  }

  void groups(const Value& v) const {
    in_range("groups", f_[kOpGroups], 1, v.channels);
    equal("channels of a group", v.channels % f_[kOpGroups], 0);
    eps();
  }

  // each: columns read for a channel.
  void table(bool optional, int64_t each) const {
    if (optional && f_[kOpTable] == -1) return;
    in_range("table", f_[kOpTable], 0, p_.table_width - each * out_.channels);
  }

  void weight(int field, Layout layout, int64_t size) const {
    const int32_t w = f_[field];
    equal("layout of a weight", p_.layouts[w], layout);
    equal("size of a weight", p_.weight_sizes[w], size);
    if (!p_.weights[w]) fail("weight: NULL");
  }

  void vectors(int from, int to) const {
    const int fields[] = {kOpW, kOpW2, kOpW3, kOpW4};
    for (int i = from; i < to; ++i) weight(fields[i], kLayoutVector, padded(static_cast<int>(out_.channels)));
  }

  void convolution(Opcode opcode) const {
    const int64_t k = f_[kOpK], stride = f_[kOpStride], pad = f_[kOpPad];
    in_range("k", k, 1, kMostTaps);
    in_range("stride", stride, 1, kMostTaps);
    in_range("pad", pad, 0, kMostTaps);
    in_range("transposed", f_[kOpTransposed], 0, 1);
    const bool transposed = f_[kOpTransposed] == 1;
    if (transposed) {
      const int64_t usual = (x_.length - 1) * stride - 2 * pad + k;
      in_range("output length", out_.length, usual, usual + stride - 1);
    } else {
      const int64_t room = x_.length + 2 * pad - k;
      if (room < 0) fail("k: longer than the input and its padding");
      equal("output length", out_.length, room / stride + 1);
    }
    if (f_[kOpIn2] != -1) like(value("in2", kOpIn2));
    if (f_[kOpW2] != -1) vectors(1, 2);
    packed(opcode, transposed);
  }

  // The algorithm, and weights as it wants them.
  void packed(Opcode opcode, bool transposed) const {
    const int64_t k = f_[kOpK];
    const auto size = [](int64_t along, int64_t taps, int64_t across) {
      return padded(static_cast<int>(along)) * taps * pitch(static_cast<int>(across));
    };
    const bool winograd = k == kWinogradTaps && f_[kOpStride] == 1 && f_[kOpPad] == kWinogradTaps / 2;
    const bool few = out_.length <= kWinogradShort;
    switch (static_cast<Algorithm>(f_[kOpAlgorithm])) {
      case Algorithm::kDirect:
        return weight(kOpW, transposed ? kLayoutTransposed : kLayoutForward,
                      size(out_.channels, k, x_.channels));
      case Algorithm::kDotAdjoint:
        if (opcode != kConv || !transposed || f_[kOpW2] != -1 || out_.channels % kBlock != 0) {
          fail("algorithm: dot_adjoint is of transposed convolutions alone, without bias, by whole blocks");
        }
        return weight(kOpW, kLayoutForward, size(x_.channels, k, out_.channels));
      case Algorithm::kWinograd:
        if (!winograd) fail("algorithm: winograd is of five taps, stride 1 and two rows of padding");
        return weight(kOpW, few ? kLayoutWinogradShort : kLayoutWinograd,
                      size(out_.channels, few ? kWinogradShortPoints : kWinogradPoints, x_.channels));
      case Algorithm::kPackedBf16:
        equal("channels of a word", x_.channels % 2, 0);
        return weight(kOpW, kLayoutBf16, size(out_.channels, k, x_.channels / 2));
      case Algorithm::kInt8:
        equal("channels of a word", x_.channels % 4, 0);
        in_range("products of a sum", k * x_.channels, 1, kInt8Products);
        return weight(
            kOpW, kLayoutInt8,
            size(out_.channels, k, x_.channels / 4) + padded(static_cast<int>(out_.channels)) * (k + 1));
    }
    fail(found("algorithm", f_[kOpAlgorithm], "one of layout.gen.h"));
  }

  const df_program& p_;
  const int32_t* f_;
  Value out_{}, x_{};
};

void verify_values(const df_program& p) {
  for (int64_t i = 0; i < p.n_values; ++i) {
    const Value v = value_of(p, i);
    const std::string name = "value " + std::to_string(i);
    in_range((name + ": channels").c_str(), v.channels, 1, kMostChannels);
    in_range((name + ": length").c_str(), v.length, 1, kMostLength);
    if (v.offset == -1) continue;
    in_range((name + ": offset").c_str(), v.offset, 0, p.size);
    in_range((name + ": channel").c_str(), v.channel, 0, kMostChannels);
    in_range((name + ": ld").c_str(), v.ld, padded(static_cast<int>(v.channel + v.channels)),
             2 * kMostChannels);
    equal((name + ": ld in blocks").c_str(), v.ld % kBlock, 0);
    equal((name + ": offset in blocks").c_str(), v.offset % kBlock, 0);
    in_range((name + ": end").c_str(), v.end(), 0, p.size);
  }
}

void verify_named(const df_program& p, const int32_t* values, int32_t n, const char* what) {
  for (int32_t i = 0; i < n; ++i) {
    in_range(what, values[i], 0, p.n_values - 1);
    if (!value_of(p, values[i]).made()) fail(std::string(what) + ": a value that lies nowhere");
  }
}

void verify_program(const df_program& p) {
  in_range("n_values", p.n_values, 1, std::numeric_limits<int32_t>::max() / kValueFields);
  in_range("n_ops", p.n_ops, 0, std::numeric_limits<int32_t>::max() / kOpFields);
  in_range("n_inputs", p.n_inputs, 1, p.n_values);
  in_range("n_outputs", p.n_outputs, 1, p.n_values);
  in_range("n_weights", p.n_weights, 0, std::numeric_limits<int32_t>::max());
  in_range("size", p.size, 0, std::numeric_limits<int32_t>::max());
  in_range("table_width", p.table_width, 0, std::numeric_limits<int32_t>::max());
  if (!p.values || !p.inputs || !p.outputs || (p.n_ops && !p.ops)) fail("a record is NULL");
  if (p.n_weights && (!p.weights || !p.weight_sizes || !p.layouts)) fail("weights are NULL");
  verify_values(p);
  verify_named(p, p.inputs, p.n_inputs, "inputs");
  verify_named(p, p.outputs, p.n_outputs, "outputs");
  for (int64_t i = 0; i < p.n_ops; ++i) {
    try {
      OpCheck(p, p.ops + i * kOpFields).run();
    } catch (const Error& error) {
      fail("op " + std::to_string(i) + ": " + error.text);
    }
  }
}

void shaped(const df_program& p, int32_t value, int64_t channels, int64_t length, const char* what) {
  const Value v = value_of(p, value);
  equal((std::string(what) + ": channels").c_str(), v.channels, channels);
  equal((std::string(what) + ": length").c_str(), v.length, length);
}

// A sampling loop's networks: x -> y, (x, dy) -> (y, dx) of one number y, and x -> y of that number.
void verify_roles(const df_loop& d) {
  if (!d.denoiser) fail("denoiser: NULL");
  equal("denoiser: inputs", d.denoiser->n_inputs, 1);
  equal("denoiser: outputs", d.denoiser->n_outputs, 1);
  shaped(*d.denoiser, d.denoiser->inputs[0], d.depth, d.horizon, "denoiser: x");
  shaped(*d.denoiser, d.denoiser->outputs[0], d.depth, d.horizon, "denoiser: y");
  if (!d.gradient != !d.value) fail("guide: its gradient and its value go together");
  if (d.gradient) {
    equal("gradient: inputs", d.gradient->n_inputs, 2);
    equal("gradient: outputs", d.gradient->n_outputs, 2);
    shaped(*d.gradient, d.gradient->inputs[0], d.depth, d.horizon, "gradient: x");
    shaped(*d.gradient, d.gradient->inputs[1], 1, 1, "gradient: dy");
    shaped(*d.gradient, d.gradient->outputs[0], 1, 1, "gradient: y");
    shaped(*d.gradient, d.gradient->outputs[1], d.depth, d.horizon, "gradient: dx");
    equal("value: inputs", d.value->n_inputs, 1);
    equal("value: outputs", d.value->n_outputs, 1);
    shaped(*d.value, d.value->inputs[0], d.depth, d.horizon, "value: x");
    shaped(*d.value, d.value->outputs[0], 1, 1, "value: y");
    equal("value: table_width", d.value->table_width, d.gradient->table_width);
  }
  const auto tables = [&](const df_program* p, const df_tables& t, const char* what) {
    if (!p || p->table_width == 0) return;
    if (!t.per_step) fail(std::string(what) + ": NULL, and the network reads them");
    if (t.samples != 1 && t.samples != d.batch)
      fail(found(what, t.samples, "tables of 1 sample, or of each"));
  };
  tables(d.denoiser, d.denoiser_tables, "denoiser_tables");
  tables(d.gradient, d.guide_tables, "guide_tables");
  for (int k = 0; k < d.rows; ++k) {
    const bool guided =
        d.guide_steps[k] != 0 || d.columns[static_cast<int64_t>(k) * kColumns + kColumnG0] != 0;
    in_range("guide_steps", d.guide_steps[k], 0, 1 << 20);
    if (guided && !d.gradient) fail("guide_steps: there is no guide");
  }
}

void verify_loop(const df_loop& d) {
  in_range("batch", d.batch, 1, 1 << 24);
  in_range("horizon", d.horizon, 1, kMostLength);
  in_range("depth", d.depth, 1, kMostChannels);
  in_range("rows", d.rows, 0, 1 << 24);
  for (int k = 0; d.table_steps && k < d.rows; ++k)
    in_range("table_steps", d.table_steps[k], 0, d.table_count - 1);
  if (!d.clip_low != !d.clip_high) fail("clip: both ends, or none");
  if (d.rows && (!d.columns || !d.guide_steps)) fail("columns: NULL");
  if (d.rows) verify_roles(d);
}

template <class Check>
std::string wrong(const char* name, Check&& check) {
  try {
    check();
  } catch (const Error& error) {
    return *name ? std::string(name) + ": " + error.text : error.text;
  }
  return "";
}

}  // namespace

std::string verify(const df_program& program, const char* name) {
  return wrong(name, [&] { verify_program(program); });
}

std::string verify(const df_loop& d) {
  const df_program* const programs[] = {d.denoiser, d.gradient, d.value};
  const char* const names[] = {"denoiser", "gradient", "value"};
  for (int i = 0; i < 3; ++i) {
    if (!programs[i]) continue;
    const std::string error = verify(*programs[i], names[i]);
    if (!error.empty()) return error;
  }
  return wrong("", [&] { verify_loop(d); });
}

std::string verify(const df_cpu_options& options) {
  return wrong("", [&] {
    in_range("threads", options.threads, 1, 4096);
    in_range("group", options.group, 0, 1 << 24);
  });
}

}  // namespace df
