package peer

import (
	"io"
	"slices"
	"sync"

	"github.com/pion/transport/v5/packetio"
	"github.com/pion/webrtc/v4"
)

// A queue of what came and is not read yet has at most so many bytes: the stack's own limits.
const (
	queueRTP  = 1_000_000
	queueRTCP = 100_000
)

// feedbackQueues makes all that a browser says about the video come to one reader.
//
// The stack has one queue for each stream that RTCP is addressed to, and reads those of the
// video and the sound alone. A browser addresses its congestion reports to the stream of the
// packet that came last: the video, its retransmissions (RTX) or what protects it (FlexFEC). So
// where much was sent again, a third of Chromium's reports were not read (5 % of loss,
// 10 ms of jitter), and lost packets waited for the next.
type feedbackQueues struct {
	mu     sync.Mutex
	video  io.ReadWriteCloser
	shared []uint32 // streams of the video
}

// add says that the streams of a sender are those of the video.
func (q *feedbackQueues) add(encodings []webrtc.RTPEncodingParameters) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range encodings {
		for _, ssrc := range []webrtc.SSRC{e.SSRC, e.RTX.SSRC, e.FEC.SSRC} {
			if ssrc != 0 {
				q.shared = append(q.shared, uint32(ssrc))
			}
		}
	}
}

// queue makes the queue of a stream, as the stack asks for it.
func (q *feedbackQueues) queue(kind packetio.BufferPacketType, ssrc uint32) io.ReadWriteCloser {
	if kind != packetio.RTCPBufferPacket {
		return newQueue(queueRTP)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if !slices.Contains(q.shared, ssrc) {
		return newQueue(queueRTCP)
	}
	if q.video == nil {
		q.video = newQueue(queueRTCP)
	}
	return q.video
}

func newQueue(size int) io.ReadWriteCloser {
	b := packetio.NewBuffer()
	b.SetLimitSize(size)
	return packetQueue{b}
}

// packetQueue reads and writes packets without attributes.
type packetQueue struct{ *packetio.Buffer }

func (q packetQueue) Read(b []byte) (int, error) {
	n, _, err := q.Buffer.Read(b, nil)
	return n, err
}

func (q packetQueue) Write(b []byte) (int, error) { return q.Buffer.Write(b, nil) }
