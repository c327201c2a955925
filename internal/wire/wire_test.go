package wire

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func sampleSeat() Seat {
	return Seat{
		ID: "2f1e4bd2", App: "chess", Job: "chess/dispatch-1-2", Version: 1<<64 - 1, Node: "node-1",
		Address: "198.18.1.9:24001", State: SeatStarting, Session: "s-x",
		Progress: Progress{Phase: PhaseContent, Fraction: 0.125, Detail: "18 of 240 MB"},
		Since:    time.Date(2026, 3, 4, 5, 6, 7, 89, time.UTC),
		Subject:  "5a1f", Network: "c0de", Until: time.Date(2026, 3, 4, 13, 6, 7, 0, time.UTC),
	}
}

func TestSeatMeta(t *testing.T) {
	unknown := sampleSeat()
	unknown.Progress = Progress{Fraction: -1}
	zoned := sampleSeat()
	zoned.Since = zoned.Since.In(time.FixedZone("somewhere", 3600))
	for name, seat := range map[string]Seat{"full": sampleSeat(), "unknown progress": unknown, "zoned": zoned} {
		t.Run(name, func(t *testing.T) {
			got, err := SeatFromMeta(seat.Meta(), seat.Address)
			if err != nil {
				t.Fatal(err)
			}
			seat.Since = seat.Since.UTC()
			if !reflect.DeepEqual(got, seat) {
				t.Errorf("got %+v, want %+v", got, seat)
			}
		})
	}
	// Consul takes 64 keys of 128 bytes and values of 512.
	for key, value := range sampleSeat().Meta() {
		if len(key) > 128 || len(value) > 512 || strings.ContainsAny(key, " ./") {
			t.Errorf("%q: %q is not for Consul", key, value)
		}
	}
}

func TestSeatMetaRefuses(t *testing.T) {
	for key, values := range map[string][]string{
		"version": {"", "-1", "three"}, "fraction": {"", "half"}, "since": {"", "yesterday"}, "alloc": {""}, "app": {""},
	} {
		for _, value := range values {
			meta := sampleSeat().Meta()
			meta[key] = value
			if seat, err := SeatFromMeta(meta, "a:1"); err == nil {
				t.Errorf("%s %q passes as %+v", key, value, seat)
			}
		}
	}
	if _, err := SeatFromMeta(nil, ""); err == nil {
		t.Error("nothing passes")
	}
}

func TestSeatStates(t *testing.T) {
	for state, want := range map[SeatState][2]bool{
		SeatStarting: {false, false}, SeatIdle: {true, false}, SeatClaimed: {false, true},
		SeatStreaming: {false, true}, SeatDetached: {false, true}, SeatEnding: {false, false}, "": {false, false},
	} {
		if got := [2]bool{state.Free(), state.Busy()}; got != want {
			t.Errorf("%q: free, busy %v, want %v", state, got, want)
		}
	}
}

func TestEnd(t *testing.T) {
	for _, tt := range []struct {
		end    End
		want   string
		failed bool
	}{
		{End{Reason: ReasonLeft}, "left", false},
		{End{Reason: ReasonIdle, Detail: "no input for 5m0s"}, "idle: no input for 5m0s", false},
		{End{Reason: ReasonTimeLimit}, "time-limit", false},
		{End{Reason: ReasonLost}, "lost", false},
		{End{Reason: ReasonDrained}, "drained", false},
		{End{Reason: ReasonRetired}, "retired", false},
		{End{Reason: ReasonAppExited}, "app-exited(0)", false},
		{End{Reason: ReasonAppExited, ExitCode: 3}, "app-exited(3)", true},
		{End{Reason: ReasonAppExited, Signal: 11, Detail: "it crashed"}, "app-exited(signal 11): it crashed", true},
		{End{Reason: ReasonError, Code: CodeContentMissing, Detail: "s3://b/k"}, "error(content-missing): s3://b/k", true},
		{End{Reason: ReasonError}, "error", true},
	} {
		if got := tt.end.String(); got != tt.want || tt.end.Error() != got || tt.end.Failed() != tt.failed {
			t.Errorf("%+v: %q, failed %v; want %q, %v", tt.end, got, tt.end.Failed(), tt.want, tt.failed)
		}
	}
	var end End
	if err := fmt.Errorf("fetch: %w", End{Reason: ReasonError, Code: CodeDiskFull}); !errors.As(err, &end) || end.Code != CodeDiskFull {
		t.Error("an End in an error is lost")
	}
}

func TestProblemIsAnError(t *testing.T) {
	for want, p := range map[string]Problem{
		"T: d":      {Title: "T", Detail: "d"},
		"T (/a): d": {Title: "T", Detail: "d", Field: "/a"},
	} {
		if p.Error() != want {
			t.Errorf("%q, want %q", p.Error(), want)
		}
	}
}

// TestPublicEndNamesNothing checks that strangers learn the code and one sentence
// about it, and nothing that a node or a log has.
func TestPublicEndNamesNothing(t *testing.T) {
	secret := "no object s3://models/car.glb on ip-10-0-1-7; its log ends: key=hunter2"
	for code := range publicDetails {
		e := End{Reason: ReasonError, Code: code, Detail: secret}.Public()
		if e.Reason != ReasonError || e.Code != code || e.Detail == "" || strings.Contains(e.String(), "s3") {
			t.Errorf("%s: %s", code, e)
		}
	}
	for _, e := range []End{{Reason: ReasonDrained, Detail: secret}, {Reason: ReasonAppExited, ExitCode: 3, Detail: secret}, {Reason: ReasonError, Code: "new", Detail: secret}} {
		if p := e.Public(); p.Detail != "" || p.Reason != e.Reason || p.ExitCode != e.ExitCode {
			t.Errorf("%s: %s", e, p)
		}
	}
}
