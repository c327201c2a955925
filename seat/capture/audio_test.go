package capture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/sound"
)

// decodeOpus decodes packets by GStreamer and returns the loudest sample.
func decodeOpus(t *testing.T, packets [][]byte) int {
	t.Helper()
	var loudest int
	decoded := make(chan int, 64)
	s, err := openStream("appsrc name=source format=time is-live=true caps=audio/x-opus,channel-mapping-family=0,channels=2,rate=48000 "+
		"! opusdec ! audio/x-raw,format=S16LE", func(data []byte, _ flagsType, _, _ time.Duration) {
		peak := 0
		for i := 0; i+1 < len(data); i += 2 {
			if v := int(int16(uint16(data[i]) | uint16(data[i+1])<<8)); v > peak {
				peak = v
			}
		}
		select {
		case decoded <- peak:
		default:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	pushAll(t, s, packets)
	timeout := time.After(60 * time.Second)
	for range len(packets) / 2 {
		select {
		case peak := <-decoded:
			loudest = max(loudest, peak)
		case <-s.failed:
			t.Fatal(s.failure())
		case <-timeout:
			t.Fatal("the decoder gave no sound")
		}
	}
	return loudest
}

func startSound(t *testing.T) *sound.Server {
	t.Helper()
	s, err := sound.Start(t.Context(), sound.Config{Runner: cell.Local{Dir: t.TempDir()}})
	if errors.Is(err, sound.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestSoundOfAProgramIsCaptured(t *testing.T) {
	needs(t, "gst-launch-1.0")
	server := startSound(t)
	packets := make(chan Frame, 1000)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	home := t.TempDir()
	t.Setenv("HOME", home)
	connected := time.Now()
	a, err := StartAudio(ctx, AudioConfig{PulseServer: server.Server(), Cookie: server.Cookie(), Source: sound.Source,
		OnFrame: func(f Frame) {
			select {
			case packets <- f:
			default:
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := os.Stat(filepath.Join(home, ".config")); err == nil {
		t.Error("the client wrote into the home directory")
	}
	// Also without an app that plays, the sound server does not sleep for seconds.
	silent := [][]byte{next(t, packets, "first packet", anyFrame).Data}
	if took := time.Since(connected); took > 3*time.Second/2 {
		t.Errorf("the first packet came after %v", took)
	}
	for range 30 {
		silent = append(silent, next(t, packets, "packet of silence", anyFrame).Data)
	}
	if peak := decodeOpus(t, silent); peak > 100 {
		t.Errorf("silence has a peak of %d", peak)
	}

	tone := exec.Command("gst-launch-1.0", "-q", "audiotestsrc", "is-live=true", "!", "pulsesink")
	tone.Env = append(server.Env(), "PATH="+os.Getenv("PATH"), "HOME="+t.TempDir())
	spawn(t, tone)
	// The size of a packet does not tell silence from sound. So decode.
	deadline := time.Now().Add(60 * time.Second)
	for {
		var some [][]byte
		var first, last Frame
		for range 50 {
			last = next(t, packets, "packet", anyFrame)
			if some == nil {
				first = last
			}
			some = append(some, last.Data)
		}
		if peak := decodeOpus(t, some); peak > 1000 {
			if took := last.PTS - first.PTS; took < 490*time.Millisecond || took > 900*time.Millisecond || took%packetTime != 0 {
				t.Errorf("50 packets of 10 ms span %v", took)
			}
			if off := last.Captured.Sub(first.Captured) - (last.PTS - first.PTS); off.Abs() > 20*time.Millisecond {
				t.Errorf("by the clock, the packets span %v more", off)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the tone is not captured")
		}
	}

	a.Pause()
	for len(packets) > 0 {
		<-packets
	}
	resumed := time.Now()
	a.Resume()
	after := next(t, packets, "packet after Resume", anyFrame)
	if after.PTS%packetTime != 0 {
		t.Errorf("after a pause the stream's time is %v: not whole packets", after.PTS)
	}
	// The sound is that of this moment, and the sound server does not sleep through it.
	if late := time.Since(resumed); late > time.Second {
		t.Errorf("the sound comes %v after Resume", late)
	}
	if err := a.Close(); err != nil || a.Err() != nil {
		t.Errorf("Close: %v, Err: %v", err, a.Err())
	}
}

func TestSoundServerDies(t *testing.T) {
	server := startSound(t)
	a, err := StartAudio(t.Context(), AudioConfig{PulseServer: server.Server(), Cookie: server.Cookie(), Source: sound.Source, OnFrame: func(Frame) {}})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	server.Close()
	select {
	case <-a.Done():
	case <-time.After(60 * time.Second):
		t.Fatal("the capture did not end")
	}
	if a.Err() == nil {
		t.Error("no error")
	}
}

func TestNoSoundServer(t *testing.T) {
	a, err := StartAudio(t.Context(), AudioConfig{PulseServer: fmt.Sprintf("unix:%s/none", t.TempDir()), Cookie: os.DevNull, Source: "x", OnFrame: func(Frame) {}})
	if err == nil {
		a.Close()
		t.Fatal("a missing server was accepted")
	}
}
