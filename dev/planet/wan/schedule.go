package wan

// flying is a packet on its way.
type flying struct {
	due      int64 // nanoseconds since the forwarder began
	order    uint64
	from, to *end
	packet   []byte
}

// schedule holds packets by the time that they are due, and those of the same time in
// the order of add. It is a binary heap of our own: container/heap allocates for each
// packet.
type schedule struct {
	heap  []flying
	added uint64
}

func (a *flying) before(b *flying) bool {
	return a.due < b.due || a.due == b.due && a.order < b.order
}

// next is when the first packet is due, if there is one.
func (s *schedule) next() (due int64, any bool) {
	if len(s.heap) == 0 {
		return 0, false
	}
	return s.heap[0].due, true
}

func (s *schedule) add(p flying) {
	s.added++
	p.order = s.added
	s.heap = append(s.heap, p)
	for i := len(s.heap) - 1; i > 0; {
		parent := (i - 1) / 2
		if !s.heap[i].before(&s.heap[parent]) {
			return
		}
		s.heap[i], s.heap[parent] = s.heap[parent], s.heap[i]
		i = parent
	}
}

// take removes the first packet. There must be one.
func (s *schedule) take() flying {
	first, last := s.heap[0], len(s.heap)-1
	s.heap[0] = s.heap[last]
	s.heap[last] = flying{} // holds no buffer
	s.heap = s.heap[:last]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if s.heap[child].before(&s.heap[least]) {
				least = child
			}
		}
		if least == i {
			return first
		}
		s.heap[i], s.heap[least] = s.heap[least], s.heap[i]
		i = least
	}
}
