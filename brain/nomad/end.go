package nomad

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nearcast/nearcast/internal/wire"
)

// task is what is read of an allocation's task.
type task struct {
	Restarts uint64
	Events   []taskEvent
}

type taskEvent struct {
	Type           string
	DisplayMessage string
	Details        map[string]string
}

// end reads from a task's events how its seat ended: what the driver said, else
// what Nomad says. It is nil if neither says it.
func end(t task) *wire.End {
	// The driver's event may come before or after "Terminated". Events before the
	// last start are about an earlier run.
	events := t.Events
	for i, e := range events {
		if e.Type == "Started" {
			events = events[i:]
		}
	}
	var found *wire.End
	for _, e := range slices.Backward(events) {
		if e.Details["reason"] != "" {
			if end, ok := parseEnd(e.DisplayMessage); ok {
				return &end
			}
			return &wire.End{Reason: wire.Reason(e.Details["reason"]), Code: e.Details["code"]}
		}
		if found != nil {
			continue
		}
		switch e.Type {
		case "Terminated":
			if end, ok := parseEnd(e.Details["exit_message"]); ok {
				found = &end
				continue
			}
			code, _ := strconv.Atoi(e.Details["exit_code"])
			signal, _ := strconv.Atoi(e.Details["signal"])
			found = &wire.End{Reason: wire.ReasonAppExited, ExitCode: code, Signal: signal}
		case "Driver Failure", "Failed Validation", "Setup Failure", "Failed Artifact Download", "Disk Resources Exceeded":
			found = &wire.End{Reason: wire.ReasonError, Code: wire.CodeConfig, Detail: e.DisplayMessage}
			if end, ok := parseEnd(e.Details["driver_error"]); ok {
				found = &end
			}
		}
	}
	return found
}

// parseEnd reads what wire.End.String wrote.
func parseEnd(s string) (wire.End, bool) {
	head, detail, _ := strings.Cut(s, ": ")
	reason, inner, _ := strings.Cut(strings.TrimSuffix(head, ")"), "(")
	end := wire.End{Reason: wire.Reason(reason), Detail: detail}
	switch end.Reason {
	case wire.ReasonLeft, wire.ReasonIdle, wire.ReasonTimeLimit, wire.ReasonLost, wire.ReasonDrained, wire.ReasonRetired:
	case wire.ReasonError:
		end.Code = inner
	case wire.ReasonAppExited:
		if _, err := fmt.Sscanf(inner, "signal %d", &end.Signal); err != nil {
			end.ExitCode, _ = strconv.Atoi(inner)
		}
	default:
		return wire.End{}, false
	}
	return end, true
}
