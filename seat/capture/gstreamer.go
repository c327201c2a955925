package capture

/*
#cgo pkg-config: gstreamer-1.0
#cgo CFLAGS: -O3
#include <gst/gst.h>
#include "convert.h"

// picture_buffer makes a buffer of memory that the caller keeps.
static GstBuffer *picture_buffer(void *data, gsize size, guint64 pts, guint64 duration)
{
	GstBuffer *b = gst_buffer_new_wrapped_full(GST_MEMORY_FLAG_READONLY, data, size, 0, size, NULL, NULL);
	GST_BUFFER_PTS(b) = pts;
	GST_BUFFER_DURATION(b) = duration;
	return b;
}
*/
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/go-gst/go-gst/gst"
	"github.com/go-gst/go-gst/gst/app"
)

// initGStreamer runs once in a process, as the library requires.
var initGStreamer = sync.OnceFunc(func() { gst.Init(nil) })

// stream is a running GStreamer pipeline that ends in an appsink.
type stream struct {
	pipeline *gst.Pipeline
	sink     *app.Sink
	onData   func(data []byte, flags gst.BufferFlags, pts, duration time.Duration)

	mu     sync.Mutex
	err    error
	failed chan struct{}
	closed atomic.Bool
}

// openStream builds a pipeline from its description, and adds the appsink.
func openStream(launch string, onData func([]byte, gst.BufferFlags, time.Duration, time.Duration)) (*stream, error) {
	initGStreamer()
	pipeline, err := gst.NewPipelineFromString(launch +
		" ! appsink name=sink sync=false async=false qos=false wait-on-eos=false max-buffers=8 drop=false")
	if err != nil {
		return nil, fmt.Errorf("build pipeline: %w", err)
	}
	s := &stream{pipeline: pipeline, onData: onData, failed: make(chan struct{})}
	element, err := pipeline.GetElementByName("sink")
	if err != nil {
		return nil, fmt.Errorf("build pipeline: %w", err)
	}
	s.sink = app.SinkFromElement(element)
	s.sink.SetCallbacks(&app.SinkCallbacks{NewSampleFunc: s.sample})
	// Messages are handled on the thread that posts them: there is no main loop
	// that would empty the bus.
	pipeline.GetPipelineBus().SetSyncHandler(func(msg *gst.Message) gst.BusSyncReply {
		switch msg.Type() {
		case gst.MessageError:
			s.fail(errors.New(msg.ParseError().Error()))
		case gst.MessageEOS:
			s.fail(errors.New("the stream ended"))
		}
		return gst.BusDrop
	})
	return s, nil
}

func (s *stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
		close(s.failed)
	}
}

func (s *stream) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *stream) set(state gst.State) error {
	if err := s.pipeline.SetState(state); err != nil {
		if failed := s.failure(); failed != nil {
			return fmt.Errorf("start pipeline: %w", failed)
		}
		return fmt.Errorf("start pipeline: %w", err)
	}
	return nil
}

// sample runs on the pipeline's thread.
func (s *stream) sample(sink *app.Sink) gst.FlowReturn {
	sample := sink.PullSample()
	if sample == nil {
		return gst.FlowEOS
	}
	// Freed here: the garbage collector does not see how much memory it holds.
	runtime.SetFinalizer(sample, nil)
	defer sample.Unref()
	buffer := sample.GetBuffer()
	if buffer == nil {
		return gst.FlowOK
	}
	runtime.SetFinalizer(buffer, nil)
	defer buffer.Unref()
	mapped := buffer.Map(gst.MapRead)
	data := mapped.Bytes() // the only copy, out of the encoder's memory
	buffer.Unmap()
	if !s.closed.Load() {
		s.onData(data, buffer.GetFlags(), clockTime(buffer.PresentationTimestamp()), clockTime(buffer.Duration()))
	}
	return gst.FlowOK
}

func clockTime(t gst.ClockTime) time.Duration {
	if t == gst.ClockTimeNone {
		return 0
	}
	return time.Duration(t)
}

// close ends the pipeline; onData is not called afterwards.
func (s *stream) close() {
	if s.closed.Swap(true) {
		return
	}
	s.pipeline.SetState(gst.StateNull)
	s.pipeline.GetPipelineBus().SetSyncHandler(func(*gst.Message) gst.BusSyncReply { return gst.BusDrop })
}

// videoStream encodes pictures one after the other.
type videoStream struct {
	*stream
	encoder encoder
	enc     *gst.Element
	source  *app.Source
	params  params

	i420 unsafe.Pointer // C memory; the picture that the encoder works on
	size int
}

func openVideo(e encoder, p params, onFrame func(data []byte, key bool, duration time.Duration)) (*videoStream, error) {
	initGStreamer()
	if gst.Find(e.element) == nil {
		return nil, fmt.Errorf("GStreamer has no element %s on this node", e.element)
	}
	launch := fmt.Sprintf("appsrc name=source format=time is-live=true block=false max-buffers=2 "+
		"caps=video/x-raw,format=I420,width=%d,height=%d,framerate=%d/1,colorimetry=bt709,chroma-site=mpeg2,"+
		"pixel-aspect-ratio=1/1,interlace-mode=progressive ! %s", p.width, p.height, p.fps, e.launch(p))
	s, err := openStream(launch, func(data []byte, flags gst.BufferFlags, _, duration time.Duration) {
		// The timestamp is not used: x264enc adds 1000 hours to it.
		onFrame(data, flags&gst.BufferFlagDeltaUnit == 0, duration)
	})
	if err != nil {
		return nil, err
	}
	v := &videoStream{stream: s, encoder: e, params: p, size: i420Size(p.width, p.height)}
	source, err := s.pipeline.GetElementByName("source")
	if err == nil {
		v.enc, err = s.pipeline.GetElementByName("enc")
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("build pipeline: %w", err)
	}
	v.source = app.SrcFromElement(source)
	if err := s.set(gst.StatePlaying); err != nil {
		s.close()
		return nil, err
	}
	v.i420 = unsafe.Pointer(C.g_malloc0(C.gsize(v.size)))
	return v, nil
}

// push encodes a BGRx picture. The previous one must have left the encoder.
func (v *videoStream) push(picture []byte, stride int, pts time.Duration, key bool) error {
	C.bgrx_to_i420((*C.uint8_t)(pixels(picture)), C.int(stride), (*C.uint8_t)(v.i420), C.int(v.params.width), C.int(v.params.height))
	if key {
		v.forceKeyframe()
	}
	b := C.picture_buffer(v.i420, C.gsize(v.size), C.guint64(pts), C.guint64(time.Second/time.Duration(v.params.fps)))
	buffer := gst.ToGstBuffer(unsafe.Pointer(b))
	flow := v.source.PushBuffer(buffer) // takes its own reference
	buffer.Unref()
	if flow != gst.FlowOK {
		if err := v.failure(); err != nil {
			return err
		}
		return fmt.Errorf("the encoder refused a picture: %v", flow)
	}
	return nil
}

// forceKeyframe makes the next picture a keyframe with parameter sets.
func (v *videoStream) forceKeyframe() {
	structure := gst.NewStructureFromString("GstForceKeyUnit, all-headers=(boolean)true")
	v.sink.SendEvent(gst.NewCustomEvent(gst.EventTypeCustomUpstream, structure))
}

func (v *videoStream) setBitrate(bps int) error {
	value := max(bps/v.encoder.bitrateUnit, 1)
	if v.encoder.codec == VP8 {
		return v.enc.SetProperty(v.encoder.bitrate, value) // a gint
	}
	return v.enc.SetProperty(v.encoder.bitrate, uint(value)) // a guint
}

func (v *videoStream) close() {
	v.stream.close()
	if v.i420 != nil {
		C.g_free(C.gpointer(v.i420))
		v.i420 = nil
	}
}

func i420Size(width, height int) int { return int(C.i420_size(C.int(width), C.int(height))) }

// convertPicture converts BGRx to I420, with vector instructions or without. It is
// for tests, whose files cannot use cgo.
func convertPicture(dst, src []byte, stride, width, height int, vector bool) {
	s, d := (*C.uint8_t)(pixels(src)), (*C.uint8_t)(pixels(dst))
	if vector {
		C.bgrx_to_i420(s, C.int(stride), d, C.int(width), C.int(height))
	} else {
		C.bgrx_to_i420_plain(s, C.int(stride), d, C.int(width), C.int(height))
	}
}

func gstVersion() string {
	var major, minor, micro, nano C.guint
	C.gst_version(&major, &minor, &micro, &nano)
	return fmt.Sprintf("%d.%d.%d", major, minor, micro)
}
