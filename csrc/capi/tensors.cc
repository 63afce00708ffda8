#include "tensors.h"

#include <algorithm>
#include <cstring>

#include "bundle.gen.h"
#include "digest.h"
#include "refused.h"

namespace df {
namespace {

constexpr int64_t kMostHeader = 16 << 20;  // bytes
constexpr int kMostAxes = 8;

[[noreturn]] void damaged(const std::string& text) { refuse(DFX_FILE, text); }

struct NamedType {
  const char* name;
  Type type;
  int64_t bytes;
};
constexpr NamedType kTypes[] = {{"U8", Type::kU8, 1},   {"I32", Type::kI32, 4}, {"I64", Type::kI64, 8},
                                {"U64", Type::kU64, 8}, {"F32", Type::kF32, 4}, {"F64", Type::kF64, 8}};

// As much JSON as such a header may have: objects of strings, numbers that are not negative, and lists of these.
class Header {
 public:
  Header(const char* text, const char* end) : at_(text), end_(end) {}

  bool taken(char c) {
    space();
    if (at_ == end_ || *at_ != c) return false;
    ++at_;
    return true;
  }
  void take(char c) {
    if (!taken(c)) damaged(std::string("its header is not a table of tensors: expected ") + c);
  }

  // Between its quotes, escapes as they are.
  std::string_view string() {
    take('"');
    const char* const begin = at_;
    for (; at_ < end_ && *at_ != '"'; ++at_) {
      if (*at_ == '\\' && ++at_ == end_) break;
    }
    if (at_ >= end_) damaged("its header ends within a text");
    return {begin, static_cast<size_t>(at_++ - begin)};
  }

  int64_t number() {
    space();
    int64_t value = 0;
    const char* const begin = at_;
    for (; at_ < end_ && *at_ >= '0' && *at_ <= '9'; ++at_) {
      if (value > (INT64_MAX - 9) / 10) damaged("its header has a number that is too large");
      value = 10 * value + (*at_ - '0');
    }
    if (at_ == begin) damaged("its header is not a table of tensors: expected a number");
    return value;
  }

  std::vector<int64_t> numbers() {
    std::vector<int64_t> found;
    take('[');
    if (taken(']')) return found;
    do {
      if (found.size() == kMostAxes) damaged("its header has a list that is too long");
      found.push_back(number());
    } while (taken(','));
    take(']');
    return found;
  }

  void end() {
    space();
    if (at_ != end_) damaged("its header goes on after its end");
  }

 private:
  void space() {
    while (at_ < end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\t' || *at_ == '\r')) ++at_;
  }

  const char *at_, *end_;
};

void skip_texts(Header& header) {
  header.take('{');
  if (header.taken('}')) return;
  do {
    header.string();
    header.take(':');
    header.string();
  } while (header.taken(','));
  header.take('}');
}

Tensor tensor(Header& header, std::string_view name, const uint8_t* data, int64_t size) {
  std::string_view dtype;
  std::vector<int64_t> shape, offsets;
  bool seen[3] = {};
  header.take('{');
  do {
    const std::string_view key = header.string();
    header.take(':');
    const int which = key == "dtype" ? 0 : key == "shape" ? 1 : key == "data_offsets" ? 2 : -1;
    if (which < 0 || seen[which]) damaged("its header has an entry of unknown or repeated fields");
    seen[which] = true;
    if (which == 0) dtype = header.string();
    if (which == 1) shape = header.numbers();
    if (which == 2) offsets = header.numbers();
  } while (header.taken(','));
  header.take('}');
  const std::string who = "tensor " + std::string(name);
  const auto type =
      std::find_if(std::begin(kTypes), std::end(kTypes), [&](auto& t) { return dtype == t.name; });
  if (type == std::end(kTypes)) damaged(who + ": of a type that bundles do not have");
  if (!seen[1] || offsets.size() != 2) damaged(who + ": without its shape or place");
  if (offsets[0] > offsets[1] || offsets[1] > size) damaged(who + ": beyond the end of the file");
  const bool padding = name.substr(0, 4) == "pad.";  // which nobody reads
  if (offsets[0] % kLine != 0 && !padding) damaged(who + ": not at a multiple of 64 bytes");
  int64_t elements = 1;
  for (const int64_t n : shape) {
    if (n > size || (n != 0 && elements > size / n)) damaged(who + ": larger than the file");
    elements *= n;
  }
  if (elements * type->bytes != offsets[1] - offsets[0]) damaged(who + ": its shape is not its size");
  return {name, type->type, shape, elements, data + offsets[0]};
}

}  // namespace

Tensors::Tensors(const uint8_t* data, int64_t size, uint64_t digest) {
  if (size < 8 + kLine || size % kLine != 0)
    damaged("no bundle, or cut short: it has " + std::to_string(size) + " bytes");
  uint64_t length;
  std::memcpy(&length, data, sizeof length);
  if (length < 2 || length > static_cast<uint64_t>(std::min<int64_t>(kMostHeader, size - 8 - kLine)) ||
      data[8] != '{')
    damaged("no bundle, or cut short: it does not begin with a table of tensors");
  if ((8 + length) % kLine != 0) damaged("its tensors do not lie at multiples of 64 bytes");
  const uint8_t* const body = data + 8 + length;
  const int64_t room = size - 8 - static_cast<int64_t>(length);
  std::memcpy(&digest_, data + size - kLine, sizeof digest_);
  if (digest_ != digest) damaged("damaged: its digest is not that of its contents");

  Header header(reinterpret_cast<const char*>(data) + 8, reinterpret_cast<const char*>(body));
  header.take('{');
  do {
    const std::string_view name = header.string();
    header.take(':');
    if (name == "__metadata__") {
      skip_texts(header);
    } else {
      all_.push_back(tensor(header, name, body, room));
    }
  } while (header.taken(','));
  header.take('}');
  header.end();
  std::sort(all_.begin(), all_.end(), [](const Tensor& a, const Tensor& b) { return a.name < b.name; });
  const auto twice = std::adjacent_find(all_.begin(), all_.end(),
                                        [](const Tensor& a, const Tensor& b) { return a.name == b.name; });
  if (twice != all_.end()) damaged("tensor " + std::string(twice->name) + ": there twice");
  if (this->data("digest", Type::kU64, kLine / 8) != data + size - kLine)
    damaged("tensor digest: not at the end");
}

const Tensor* Tensors::find(std::string_view name) const {
  const auto found = std::lower_bound(all_.begin(), all_.end(), name,
                                      [](const Tensor& a, std::string_view b) { return a.name < b; });
  return found != all_.end() && found->name == name ? &*found : nullptr;
}

const uint8_t* Tensors::data(const std::string& name, Type type, int64_t elements, int64_t* found) const {
  const Tensor* const tensor = find(name);
  if (!tensor) damaged("tensor " + name + ": missing");
  if (tensor->type != type) damaged("tensor " + name + ": of another type than expected");
  if (elements >= 0 && tensor->elements != elements) {
    damaged("tensor " + name + ": found " + std::to_string(tensor->elements) + " numbers, expected " +
            std::to_string(elements));
  }
  if (found) *found = tensor->elements;
  return tensor->data;
}

}  // namespace df
