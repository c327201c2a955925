package capture

import (
	"testing"
	"time"

	"github.com/go-gst/go-gst/gst"
	"github.com/go-gst/go-gst/gst/app"
)

type flagsType = gst.BufferFlags

// pushAll gives encoded data to a stream whose appsrc is named "source".
func pushAll(t testing.TB, s *stream, packets [][]byte) {
	t.Helper()
	element, err := s.pipeline.GetElementByName("source")
	if err != nil {
		t.Fatal(err)
	}
	source := app.SrcFromElement(element)
	if err := s.set(gst.StatePlaying); err != nil {
		t.Fatal(err)
	}
	for i, data := range packets {
		b := gst.NewBufferFromBytes(data)
		b.SetPresentationTimestamp(gst.ClockTime(time.Duration(i) * 10 * time.Millisecond))
		if flow := source.PushBuffer(b); flow != gst.FlowOK {
			t.Fatalf("push: %v", flow)
		}
	}
}

// convertBoth converts noise, without and with vector instructions.
func convertBoth(width, height int) (plain, vector []byte) {
	src := make([]byte, 4*width*height)
	seed := uint32(1)
	for i := range src {
		seed = seed*1664525 + 1013904223
		src[i] = byte(seed >> 24)
	}
	plain, vector = make([]byte, i420Size(width, height)), make([]byte, i420Size(width, height))
	convertPicture(plain, src, 4*width, width, height, false)
	convertPicture(vector, src, 4*width, width, height, true)
	return plain, vector
}

func convertColor(bgr [3]byte) [3]byte {
	src := make([]byte, 4*16*2)
	for i := 0; i < len(src); i += 4 {
		copy(src[i:], bgr[:])
	}
	dst := make([]byte, 16*2*3/2)
	convertPicture(dst, src, 4*16, 16, 2, true)
	return [3]byte{dst[0], dst[32], dst[40]}
}
