package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
)

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

// What is not of a kind, or too much of it, is refused.
func TestClipKinds(t *testing.T) {
	png := func(width, height uint32) []byte {
		b := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"), make([]byte, 8)...)
		binary.BigEndian.PutUint32(b[16:], width)
		binary.BigEndian.PutUint32(b[20:], height)
		return b
	}
	for name, c := range map[string]struct {
		kind ClipKind
		data []byte
		want bool
	}{
		"text": {ClipText, []byte("日本"), true}, "bad text": {ClipText, []byte("\xff"), false}, "nothing": {ClipText, nil, false},
		"too much": {ClipText, make([]byte, MaxClip+1), false}, "the most": {ClipText, make([]byte, MaxClip), true},
		"a picture": {ClipPNG, png(8192, 8192), true}, "a large picture": {ClipPNG, png(8192, 8193), false},
		"a huge picture": {ClipPNG, png(1<<32-1, 1<<32-1), false}, "a picture of no size": {ClipPNG, png(0, 7), false},
		"half a picture": {ClipPNG, png(1, 1)[:20], false}, "HTML as a picture": {ClipPNG, []byte("<p>a picture of some length</p>"), false},
		"another kind": {"exe", []byte("MZ"), false},
	} {
		if got := c.kind.Valid(c.data); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	for offer, want := range map[ClipOffer]bool{
		{ID: 1, PNG: MaxClip}: true, {ID: 1, PNG: MaxClip + 1}: false, {ID: 1, HTML: -1, PNG: 5}: false, {ID: 1}: false, {PNG: 5}: false,
	} {
		if offer.Valid() != want {
			t.Errorf("%+v: %v", offer, !want)
		}
	}
	if (*ClipOffer)(nil).Valid() {
		t.Error("no offer is one")
	}
}
