package driver

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/version"
	"github.com/nearcast/nearcast/internal/wire"
)

func TestFingerprint(t *testing.T) {
	tests := map[string]struct {
		found  string // by the stream host
		config string // whole
		extra  string // beside the usual
		health drivers.HealthState
		say    string
	}{
		"healthy": {
			found:  `{"version":"v0.3.0","gstreamer":"1.22.0","encoders":["x264enc","openh264enc","vp8enc"],"display":"Xvfb 21.1","sound":"pulseaudio 16.1"}`,
			health: drivers.HealthStateHealthy, say: "Healthy, but apps are not isolated:",
		},
		"lacks something": {
			found:  `{"gstreamer":"1.22.0","encoders":[],"display":"","problems":["no display server: install xvfb"]}`,
			health: drivers.HealthStateUnhealthy, say: "install xvfb",
		},
		"could be better": {
			found:  `{"version":"v0.3.0","gstreamer":"1.22.0","encoders":["x264enc","openh264enc","vp8enc"],"display":"Xvfb 21.1","sound":"pulseaudio 16.1","notes":["seats draw in software: install xserver-xorg-core"]}`,
			health: drivers.HealthStateHealthy, say: "Healthy, but seats draw in software: install",
		},
		"asks for the display": {
			found:  `{"problems":[ASKED]}`,
			extra:  "display {\n server = \"xorg\"\n driver = \"dummy\"\n }",
			health: drivers.HealthStateUnhealthy, say: `{"server":"xorg","driver":"dummy"}`,
		},
		"fingerprint fails": {found: `nonsense`, health: drivers.HealthStateUnhealthy, say: "fingerprint"},
		"not installed": {
			config: `config { stream_host = "/nonexistent/stream-host" }`,
			health: drivers.HealthStateUndetected, say: "/nonexistent/stream-host",
		},
		"no keeper": {
			config: `config {
  stream_host = "/bin/true"
  seat_keeper = "/nonexistent/seat-keeper"
}`,
			health: drivers.HealthStateUndetected, say: "/nonexistent/seat-keeper",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv("GST_FAKE_FINGERPRINT", tt.found)
			b := newBench(t, tt.extra)
			if tt.config != "" {
				b.configure(tt.config)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			ch, err := b.Fingerprint(ctx)
			if err != nil {
				t.Fatal(err)
			}
			f := <-ch
			if f == nil || f.Err != nil || f.Health != tt.health || !strings.Contains(f.HealthDescription, tt.say) {
				t.Fatalf("got %+v", f)
			}
			if tt.health != drivers.HealthStateHealthy {
				return
			}
			for key, want := range map[string]string{
				"driver.stream.gstreamer": "1.22.0", "driver.stream.encoders": "x264enc,openh264enc",
				"driver.stream.encoders.vp8": "vp8enc", "driver.stream.display": "Xvfb 21.1", "driver.stream.sound": "pulseaudio 16.1",
				"driver.stream.isolation": "false", "driver.stream.gamepads": "false", "driver.stream": "true",
				"driver.stream.version": version.String(), "driver.stream.stream_host_version": "v0.3.0",
				"driver.stream.seat_keeper_version": "v0.3.0", "driver.stream.internet": "false", "driver.stream.landlock": "0",
			} {
				if f.Attributes[key] == nil || f.Attributes[key].GoString() != want {
					t.Errorf("%s = %v, want %s", key, f.Attributes[key], want)
				}
			}
		})
	}
}

func TestTicketKeysAreMissed(t *testing.T) {
	b := newBench(t, "")
	s, _ := b.driver.config()
	s.ticketKeys = "/nonexistent/keys.pem"
	if p := s.problems(); len(p) != 1 || !strings.Contains(p[0], "put the routers' public keys there") {
		t.Errorf("got %q", p)
	}
	s.ticketKeys = ""
	if p := s.problems(); len(p) != 1 || !strings.Contains(p[0], "ticket_keys is not set") {
		t.Errorf("got %q", p)
	}
}

func TestCellNotes(t *testing.T) {
	isolated := settings{isolate: true, allow: allowed{networks: []string{"none", "internet"}}}
	lacks := wire.CellFingerprint{NoInternet: "install slirp4netns"}
	for name, tt := range map[string]struct {
		s     settings
		found wire.CellFingerprint
		say   []string
	}{
		"all there":            {s: isolated},
		"no way out":           {s: isolated, found: lacks, say: []string{"install slirp4netns"}},
		"no way out, not used": {s: settings{isolate: true, allow: allowed{networks: []string{"none"}}}, found: lacks},
		"not isolated":         {found: lacks, say: []string{"apps are not isolated"}},
	} {
		got := tt.s.cellNotes(tt.found)
		if len(got) != len(tt.say) || len(got) > 0 && !strings.Contains(got[0], tt.say[0]) {
			t.Errorf("%s: got %q, want %q", name, got, tt.say)
		}
	}
}

// The library by which apps see gamepads is beside the stream host, for all users.
func TestFingerprintOfGamepads(t *testing.T) {
	host := filepath.Join(t.TempDir(), "stream-host")
	library := filepath.Join(filepath.Dir(host), wire.GamepadLibrary)
	if hasGamepads(host) {
		t.Error("there is no library")
	}
	testkit.Must(t, os.WriteFile(library, nil, 0o644))
	if !hasGamepads(host) {
		t.Error("the library is not seen")
	}
	testkit.Must(t, os.Chmod(library, 0o640))
	if hasGamepads(host) {
		t.Error("not all users can read the library")
	}
}
