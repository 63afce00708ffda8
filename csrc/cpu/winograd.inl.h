// Convolutions of five taps by Winograd's algorithm: 4 outputs of a channel cost 8 products instead of 20, or 7 where
// a trajectory has no more than 4 rows (Winograd 1980; Lavin and Gray 2016; Toom-Cook points 0, 1, -1, 2, -2, 1/2, -1/2,
// infinity). y = A^T [(G w) . (B^T x)], summed over channels between the brackets: the weights hold G w
// (backends/cpu/winograd.py), the input becomes B^T x here, and the products in between are a convolution of one tap for
// each point, done by the kernel of conv.inl.h.
// Up to 4 rows, rows and weights change places: y_i = sum_j x_j w_(j-i+2) is a correlation of the 7 numbers
// w_5-n (w_5 = w_-1 = 0) with the 4 numbers x_3-j, so the weights hold B^T w and the input becomes G x.
namespace df {
namespace DF_TARGET {

// Rows -2 .. 5 around a tile of 4 outputs -> 8 points. Even and odd rows are added up by themselves: points a and -a
// are their sum and difference.
template <class Row, class Point>
inline __attribute__((always_inline)) void to_points(Row&& row, Point&& point) {
  const Vec x0 = row(0), x1 = row(1), x2 = row(2), x3 = row(3), x4 = row(4), x5 = row(5), x6 = row(6),
            x7 = row(7);
  const auto pair = [&](int at, Vec even, Vec odd) __attribute__((always_inline)) {
    point(at, add(even, odd));
    point(at + 1, sub(even, odd));
  };
  const Vec a = set(5.25f);
  point(0, fma(a, sub(x2, x4), sub(x6, x0)));
  pair(1, fnma(set(4.25f), x4, add(x6, x2)), fnma(set(4.25f), x3, add(x5, x1)));
  pair(3, fnma(set(1.25f), x4, fma(set(0.25f), x2, x6)),
       fma(set(2.0f), x5, fnma(set(2.5f), x3, mul(set(0.5f), x1))));
  pair(5, fma(set(4.0f), x2, fnma(set(5.0f), x4, x6)),
       fma(set(0.5f), x5, fnma(set(2.5f), x3, mul(set(2.0f), x1))));
  point(7, fma(a, sub(x3, x5), sub(x7, x1)));
}

// The 4 rows there are -> 7 points.
template <class Row, class Point>
inline __attribute__((always_inline)) void to_few_points(Row&& row, Point&& point) {
  const Vec g3 = row(0), g2 = row(1), g1 = row(2), g0 = row(3);
  const auto pair = [&](int at, Vec even, Vec odd) __attribute__((always_inline)) {
    point(at, add(even, odd));
    point(at + 1, sub(even, odd));
  };
  point(0, g0);
  pair(1, add(g0, g2), add(g1, g3));
  pair(3, fma(set(4.0f), g2, g0), fma(set(8.0f), g3, mul(set(2.0f), g1)));
  point(5, fma(set(0.125f), g3, fma(set(0.25f), g2, fma(set(0.5f), g1, g0))));
  point(6, g3);
}

// Sums at the points -> 4 outputs: y_i = sum of p^i m_p, infinity's goes to the last.
template <int Points, class Sum>
inline __attribute__((always_inline)) void from_points(Sum&& m, Vec (&y)[4]) {
  const Vec one = add(m(1), m(2)), one_odd = sub(m(1), m(2)), two = add(m(3), m(4)),
            two_odd = sub(m(3), m(4));
  const Vec half = Points == 8 ? add(m(5), m(6)) : m(5), half_odd = Points == 8 ? sub(m(5), m(6)) : m(5);
  y[0] = add(add(m(0), one), add(two, half));
  y[1] = fma(set(0.5f), half_odd, fma(set(2.0f), two_odd, one_odd));
  y[2] = fma(set(0.25f), half, fma(set(4.0f), two, one));
  y[3] = add(fma(set(0.125f), half_odd, fma(set(8.0f), two_odd, one_odd)), m(Points - 1));
}

// Sums of kChannels products are added up by themselves: a long sum of floats is the more exact for it. The weights of
// the next so many are fetched meanwhile: there are too few products of each for the machine to come to it by itself.
constexpr int kChannels = 64;
struct AtPoint : Float32 {
  static constexpr int kAhead = kChannels * kBlock;
};

// One convolution, one thread's share of it.
class Winograd {
 public:
  Winograd(const CompiledOp& op, const Partition& part, const Work& work)
      : op_(op), part_(part), work_(work), points_(winograd_points(op.out.length)), ld_(winograd_ld(op)) {
    point_ = static_cast<ptrdiff_t>(op_.winograd_tiles) * ld_;
    sums_ = work.own + points_ * point_;
    tap_ = static_cast<ptrdiff_t>(pitch(op_.x.channels)) * kBlock;
    block_ = points_ * tap_;
  }

  void run() const {
    if (part_.c0 >= part_.c1) return;
    for (int first = part_.run; first < part_.end_run; first += op_.winograd_tiles) {
      const int left = part_.end_run - first, n = left < op_.winograd_tiles ? left : op_.winograd_tiles;
      for (int i = 0; i < n; ++i) input_transform(op_.tiles[first + i], i);
      multiply(first, n);
    }
  }

 private:
  // The input of one tile at all points.
  void input_transform(const Tile& tile, int at) const {
    const float* const x = work_.arena + tile.input[0];
    float* const out = work_.own + static_cast<ptrdiff_t>(at) * ld_;
    const int t = tile.input[1], ld = op_.x.ld;
    each_vector(0, op_.x.channels, [&](int c, auto lanes) __attribute__((always_inline)) {
      const auto point = [&](int p, Vec v)
                             __attribute__((always_inline)) { put(out + p * point_ + c, v, lanes); };
      const auto inside = [&](int r) __attribute__((always_inline)) { return get(x + r * ld + c, lanes); };
      const auto edge = [&](int r) __attribute__((always_inline)) {
        return t + r >= 0 && t + r < op_.x.length ? get(x + r * ld + c, lanes) : zero();
      };
      if (points_ == kWinogradShortPoints) {
        to_few_points(edge, point);
      } else if (t >= 2 && t + 5 < op_.x.length) {
        to_points([&](int r) __attribute__((always_inline)) { return inside(r - 2); }, point);
      } else {
        to_points([&](int r) __attribute__((always_inline)) { return edge(r - 2); }, point);
      }
    });
  }

  // The products of n tiles, in groups of segments of 4 tiles; a rest of fewer goes by itself. Each group fetches a
  // block of the weights that come next.
  void multiply(int first, int n) const {
    const int whole = n / kSegment, groups = ceil_div(whole, kSegments),
              most = groups ? ceil_div(whole, groups) : 1;
    const int vectors = ceil_div(part_.c1 - part_.c0, kLanes);
    const int width = even_vectors(vectors, max_vectors(most, kSegment));
    for (int v = 0; v < vectors; v += width) {
      const int wide = v + width <= vectors ? width : vectors - v, c = part_.c0 + v * kLanes;
      const bool last = v + wide == vectors;
      const int blocks = ceil_div(wide, kPerBlock);
      const bool many = groups > blocks;  // with few, weights come as fast as they can anyway
      const float* const w = op_.w[0] + c / kBlock * block_ + c % kBlock;
      const ptrdiff_t next = !last      ? blocks * block_
                             : op_.next ? op_.next + part_.c0 / kBlock * op_.next_block - w
                                        : 0;
      int at = 0;
      for (int g = 0; g < groups + (whole * kSegment < n); ++g) {
        const bool rest = g == groups;
        const int segments = rest ? 1 : whole / groups + (g < whole % groups);
        const ptrdiff_t ahead = many && next && g < blocks ? next + g * block_ : 0;
        products(w, ahead, first, at, segments, rest ? n - at : kSegment, wide, c);
        at += segments * kSegment;
      }
    }
  }

  // The kernel for so many segments and vectors, of those that fit the registers.
  template <int Vectors = 1, int Segments = 1>
  void products(const float* w, ptrdiff_t ahead, int first, int at, int segments, int rows, int vectors,
                int c) const {
    if (segments > Segments) {
      if constexpr (Segments < kSegments) {
        products<Vectors, Segments + 1>(w, ahead, first, at, segments, rows, vectors, c);
      }
    } else if (vectors > Vectors) {
      if constexpr (Vectors < max_vectors(Segments, kSegment)) {
        products<Vectors + 1, Segments>(w, ahead, first, at, segments, rows, vectors, c);
      }
    } else {
      products_of<Vectors, Segments>(w, ahead, first, at, rows, c);
    }
  }

  template <int Vectors, int Segments>
  void products_of(const float* w, ptrdiff_t ahead, int first, int at, int rows, int c) const {
    const Offsets<Vectors> offsets(c % kBlock / kLanes, block_);
    for (int p = 0; p < points_; ++p, w += tap_) {
      for (int from = 0; from < op_.x.channels; from += kChannels) {
        Vec sums[Vectors][Segments * kSegment];
#pragma GCC unroll 8
        for (auto& row : sums) {
#pragma GCC unroll 12
          for (Vec& sum : row) sum = zero();
        }
        const float* x[Segments];
        for (int s = 0; s < Segments; ++s) x[s] = work_.own + p * point_ + (at + s * kSegment) * ld_ + from;
        const int left = op_.x.channels - from, n = left < kChannels ? left : kChannels;
        accumulate_first<Vectors, Segments>(sums, x, w + from * kBlock, offsets, ahead, n,
                                            Segments > 1 ? kSegment : rows);
#pragma GCC unroll 8
        for (int v = 0; v < Vectors; ++v) {
#pragma GCC unroll 12
          for (int r = 0; r < Segments * kSegment; ++r) {
            float* const sum = sums_ + ((r * Vectors + v) * points_ + p) * kLanes;
            store(sum, from ? add(load(sum), sums[v][r]) : sums[v][r]);
          }
        }
      }
    }
    for (int r = 0; r < (Segments > 1 ? Segments * kSegment : rows); ++r) {
      output_transform<Vectors>(op_.tiles[first + at + r], sums_ + r * Vectors * points_ * kLanes, c);
    }
  }

  // The first `rows` rows of each segment.
  template <int Vectors, int Segments, int Last = kSegment>
  void accumulate_first(Vec (&sums)[Vectors][Segments * kSegment], const float* const* x, const float* w,
                        const Offsets<Vectors>& offsets, ptrdiff_t ahead, int channels, int rows) const {
    if (rows == Last) {
      accumulate<AtPoint, Vectors, Segments, 0, Last>(sums, x, ld_, w, offsets, ahead, channels);
    } else if constexpr (Segments == 1 && Last > 1) {
      accumulate_first<Vectors, Segments, Last - 1>(sums, x, w, offsets, ahead, channels, rows);
    }
  }

  // Sums of one tile -> its outputs.
  template <int Vectors>
  void output_transform(const Tile& tile, const float* sums, int c) const {
    const int left = op_.out.length - tile.input[1], rows = left < kSegment ? left : kSegment;
    const View& u = op_.conv_out();
    const bool adds = op_.opcode == kConv && op_.y.at >= 0;
    for (int v = 0; v < Vectors; ++v, sums += points_ * kLanes, c += kLanes) {
      const auto sum = [&](int p) __attribute__((always_inline)) { return load(sums + p * kLanes); };
      Vec y[4];
      if (points_ == kWinogradShortPoints) {
        from_points<kWinogradShortPoints>(sum, y);
      } else {
        from_points<kWinogradPoints>(sum, y);
      }
      const Vec bias = op_.w[1] ? load(op_.w[1] + c) : zero();
      const int n = part_.c1 - c < kLanes ? part_.c1 - c : kLanes;
      float* const out = work_.arena + tile.out[0] + c;
      const float* const add_from = work_.arena + tile.add[0] + c;
#pragma GCC unroll 4
      for (int r = 0; r < kSegment; ++r) {
        if (r >= rows) break;
        Vec value = add(y[r], bias);
        if (adds) value = add(value, load(add_from + static_cast<ptrdiff_t>(r) * op_.y.ld, n));
        if (n == kLanes) {
          store(out + static_cast<ptrdiff_t>(r) * u.ld, value);
        } else {
          store(out + static_cast<ptrdiff_t>(r) * u.ld, value, n);
        }
      }
    }
  }

  const CompiledOp& op_;
  const Partition& part_;
  const Work& work_;
  const int points_;
  const int ld_;     // floats from one tile to the next at a point
  ptrdiff_t point_;  // floats from one point to the next
  ptrdiff_t tap_, block_;
  float* sums_;  // [tile][vector][point][lane] of a group
};

}  // namespace DF_TARGET
}  // namespace df
