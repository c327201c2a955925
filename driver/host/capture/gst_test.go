package capture

import (
	"testing"
	"time"

	"github.com/go-gst/go-gst/gst"
	"github.com/go-gst/go-gst/gst/app"
)

type flagsType = gst.BufferFlags

// pushAll gives encoded data to a stream whose appsrc is named "source".
func pushAll(t *testing.T, s *stream, packets [][]byte) {
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
