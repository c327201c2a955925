package seat

import (
	"context"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// shutDown ends everything that the seat started. The order is in the package comment.
func (h *streamHost) shutDown(end wire.End) {
	step := func(name string, limit time.Duration, do func() error) {
		done := make(chan error, 1)
		go func() { done <- do() }()
		timer := time.NewTimer(limit)
		defer timer.Stop()
		select {
		case err := <-done:
			if err != nil {
				h.log.Warn("shut down", "step", name, "error", err)
			}
		case <-timer.C:
			h.log.Error("shutdown step exceeded its time limit; left to the kernel", "step", name, "limit", limit)
		}
	}

	h.launch.over(end.String())
	var traces sync.WaitGroup // a collector that hangs delays nothing else
	traces.Go(h.parts.Trace.Close)
	ctx, cancel := context.WithTimeout(h.ctx, lastMessageTimeout)
	h.sendEnded(ctx, h.state.snapshot().Session, end)
	cancel()
	h.cancel() // ends start, attachments and offers
	step("media", 8*time.Second, h.stream.close)
	step("start of the app", 5*time.Second, func() error { h.starting.Wait(); return nil })
	h.mu.Lock()
	stop, app := h.stopRequest, h.app
	h.mu.Unlock()
	if app != nil {
		limit := time.Duration(stop.TimeoutMS) * time.Millisecond
		step("app", limit+5*time.Second, func() error { return app.Stop(stop.Signal, limit) })
	}
	if h.sound != nil {
		step("sound", 5*time.Second, h.sound.Close)
	}
	if h.display != nil {
		step("display", 5*time.Second, h.display.Close)
	}
	if h.content != nil {
		step("content", 5*time.Second, h.content.Close)
	}
	h.record.close()
	step("traces", 5*time.Second, func() error { traces.Wait(); return nil })
	step("tasks", 5*time.Second, func() error { h.tasks.wait(); return nil })
}

// reportEnd tells the driver how the seat ended: as the last event and by Report.
func (h *streamHost) reportEnd(end wire.End) wire.End {
	h.events.add(end.String(), map[string]string{"reason": string(end.Reason), "code": end.Code})
	if err := h.parts.Report(wire.Exit{Nonce: h.spec.Nonce, Time: time.Now().UTC(), End: end}); err != nil {
		h.log.Error("report the end", "error", err)
	}
	h.record.close()
	h.events.close()
	return end
}
