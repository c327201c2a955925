package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad/plugins"
	"github.com/hashicorp/nomad/plugins/base"

	"github.com/nearcast/nearcast/device"
	"github.com/nearcast/nearcast/device/devicetest"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// gpusEnv names the file of GPUs for the process that is the plugin.
const gpusEnv = "NEARCAST_TEST_GPUS"

func TestMain(m *testing.M) {
	// The agent starts this program as the plugin: with NVML's mock in place of the library.
	if os.Getenv(base.Handshake.MagicCookieKey) == base.Handshake.MagicCookieValue {
		plugins.Serve(func(log hclog.Logger) any { return device.New(log, devicetest.NVML(os.Getenv(gpusEnv))) })
		return
	}
	os.Exit(m.Run())
}

// site is a Nomad agent with the driver and two GPUs.
type site struct {
	*testkit.Nomad
	t    *testing.T
	runs string // the seats' run directories
	app  string
}

func newSite(t *testing.T) *site {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a real agent")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root for cells")
	}
	n := testkit.NewNomad(t)
	bin := filepath.Join(n.Dir, "bin")
	testkit.BuildAll(t, bin, "seat-keeper", "stream-host", "testapp", "plugins/nomad-driver-stream")
	self, err := os.ReadFile("/proc/self/exe")
	testkit.Must(t, err)
	testkit.Must(t, os.WriteFile(filepath.Join(bin, "plugins", device.Name), self, 0o755))
	gpus := filepath.Join(n.Dir, "gpus.json")
	devicetest.Write(t, gpus, devicetest.GPUs{
		{UUID: "GPU-a", Name: "NVIDIA L4", Bus: 0x3b, Minor: 0, MiB: 23034},
		{UUID: "GPU-b", Name: "NVIDIA L4", Bus: 0xaf, Minor: 1, MiB: 23034},
	})
	_, keys := testkit.TicketKeys(t, filepath.Join(n.Dir, "keys"))
	s := &site{n, t, filepath.Join(n.Dir, "run"), filepath.Join(bin, "testapp")}
	n.Start(fmt.Sprintf(`
plugin_dir = %q
client {
  options = { "driver.allowlist" = "stream" }
}
plugin %q {
  config {
    seats_per_gpu = 2
    run_dir       = %q
  }
}
plugin "nomad-driver-stream" {
  config {
    stream_host = %q
    run_dir     = %q
    ticket_keys = %q
    cell {
      paths = [%q]
    }
    cache {
      dir = %q
    }
    consul {
      address = "127.0.0.1:1" # nothing listens there: no brain is told
    }
    listen {
      api      = "127.0.0.1"
      loopback = true
    }
  }
}
`, filepath.Join(bin, "plugins"), device.Name, s.runs, filepath.Join(bin, "stream-host"), s.runs, keys, bin, filepath.Join(n.Dir, "cache")),
		gpusEnv+"="+gpus)
	n.WaitReady("stream")
	return s
}

// register registers a job of one seat.
func (s *site) register(id, resources string) {
	s.t.Helper()
	source := fmt.Sprintf(`
job %q {
  type = "batch"
  group "seat" {
    restart {
      attempts = 0
      mode     = "fail"
    }
    reschedule {
      attempts  = 0
      unlimited = false
    }
    task "seat" {
      driver = "stream"
      config {
        command  = %q
        gpu      = true
        audio    = false
        gamepads = false
        display {
          width  = 320
          height = 240
          fps    = 5
        }
      }
      resources {
        cpu    = 100
        memory = 200
        %s
      }
    }
  }
}`, id, s.app, resources)
	var job json.RawMessage
	s.post("/v1/jobs/parse", map[string]any{"JobHCL": source}, &job)
	s.post("/v1/jobs", map[string]any{"Job": job}, nil)
}

func (s *site) post(path string, in, out any) {
	s.t.Helper()
	text, err := json.Marshal(in)
	testkit.Must(s.t, err)
	answer, err := http.Post("http://"+s.Address+path, "application/json", bytes.NewReader(text))
	testkit.Must(s.t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	testkit.Must(s.t, err)
	if answer.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %s: %s", path, answer.Status, body)
	}
	if out != nil {
		testkit.Must(s.t, json.Unmarshal(body, out))
	}
}

type allocation struct {
	ID, ClientStatus string
	TaskStates       map[string]struct {
		Events []struct{ DisplayMessage string }
	}
	AllocatedResources struct {
		Tasks map[string]struct {
			Devices []struct {
				Vendor, Type, Name string
				DeviceIDs          []string
			}
		}
	}
}

func (a allocation) events() string {
	var all []string
	for _, e := range a.TaskStates["seat"].Events {
		all = append(all, e.DisplayMessage)
	}
	return strings.Join(all, "; ")
}

// allocation is the only one of a job; empty where Nomad placed none.
func (s *site) allocation(job string) (a allocation) {
	var all []allocation
	if err := s.Get(s.t.Context(), "/v1/job/"+job+"/allocations", &all); err != nil || len(all) != 1 {
		return a
	}
	s.Get(s.t.Context(), "/v1/allocation/"+all[0].ID, &a)
	return a
}

// placed waits until a job's seat is ready, and says on which GPU Nomad placed it, and on which
// the driver started it.
func (s *site) placed(job string) (reserved string, spec wire.Spec) {
	s.t.Helper()
	ctx := testkit.Context(s.t, 90*time.Second)
	var a allocation
	testkit.Retry(ctx, s.t, "the seat of "+job+" is ready", func() error {
		if a = s.allocation(job); a.ClientStatus == "failed" {
			s.t.Fatalf("the seat of %s failed: %s", job, a.events())
		}
		if !strings.Contains(a.events(), "ready") {
			return fmt.Errorf("%s: %s", a.ClientStatus, a.events())
		}
		return nil
	})
	devices := a.AllocatedResources.Tasks["seat"].Devices
	if len(devices) != 1 || len(devices[0].DeviceIDs) != 1 || devices[0].Name != "nvidia-l4" {
		s.t.Fatalf("%s has the devices %+v", job, devices)
	}
	files, err := filepath.Glob(filepath.Join(s.runs, a.ID[:8]+"-*", wire.SpecFile))
	if err != nil || len(files) != 1 {
		s.t.Fatalf("the specs of %s are %v, %v", job, files, err)
	}
	text, err := os.ReadFile(files[0])
	testkit.Must(s.t, err)
	testkit.Must(s.t, json.Unmarshal(text, &spec))
	return devices[0].DeviceIDs[0], spec
}

// Five seats are asked of two GPUs of two seats each: four are placed, each on the GPU that Nomad
// counts it on, and the fifth when one has ended.
func TestSeatsOnTwoGPUs(t *testing.T) {
	s := newSite(t)
	const wanted = `device "nearcast/gpu-seat" {}`
	buses := map[string]string{"GPU-a": "PCI:59@0:0:0", "GPU-b": "PCI:175@0:0:0"}
	files := map[string]string{"GPU-a": "/dev/nvidia0", "GPU-b": "/dev/nvidia1"}
	taken := map[string]string{} // job by seat
	var jobs []string
	place := func(job string) {
		t.Helper()
		id, spec := s.placed(job)
		if other := taken[id]; other != "" {
			t.Errorf("%s and %s have both the seat %s", other, job, id)
		}
		taken[id] = job
		gpu, _, _ := strings.Cut(id, ":")
		if spec.GPU != gpu || spec.XServer.BusID != buses[gpu] || !slices.Equal(spec.Devices, []string{files[gpu]}) {
			t.Errorf("%s has %s, and the driver started it on %q at %q with %q", job, id, spec.GPU, spec.XServer.BusID, spec.Devices)
		}
		if spec.Env["CUDA_VISIBLE_DEVICES"] != gpu {
			t.Errorf("the app of %s sees the GPUs %q", job, spec.Env["CUDA_VISIBLE_DEVICES"])
		}
	}
	for i := range 4 {
		jobs = append(jobs, fmt.Sprintf("seat-%d", i))
		s.register(jobs[i], wanted)
	}
	for _, job := range jobs {
		place(job)
	}
	if len(taken) != 4 {
		t.Fatalf("four seats have %v", taken)
	}

	s.register("fifth", wanted)
	type evaluation struct {
		Status         string
		FailedTGAllocs map[string]struct{ DimensionExhausted map[string]int }
	}
	testkit.Retry(testkit.Context(t, 20*time.Second), t, "the fifth seat waits for a device", func() error {
		var all []evaluation
		err := s.Get(t.Context(), "/v1/job/fifth/evaluations", &all)
		blocked := slices.ContainsFunc(all, func(e evaluation) bool { return e.Status == "blocked" })
		why := slices.ContainsFunc(all, func(e evaluation) bool {
			// Where all of a device are taken, Nomad says that none matches.
			return e.FailedTGAllocs["seat"].DimensionExhausted["devices: no devices match request"] == 1
		})
		if err != nil || !blocked || !why {
			return fmt.Errorf("%+v, %v", all, err)
		}
		return nil
	})
	if a := s.allocation("fifth"); a.ID != "" {
		t.Fatalf("the fifth seat was placed: %+v", a)
	}

	for id, job := range taken {
		delete(taken, id)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, "http://"+s.Address+"/v1/job/"+job, nil)
		testkit.Must(t, err)
		answer, err := http.DefaultClient.Do(request)
		testkit.Must(t, err)
		answer.Body.Close()
		break
	}
	place("fifth")

	// The driver does not start a seat that needs a GPU and has none.
	s.register("without", "")
	testkit.Retry(testkit.Context(t, 30*time.Second), t, "a seat without a reservation fails with the reason", func() error {
		if a := s.allocation("without"); a.ClientStatus != "failed" || !strings.Contains(a.events(), `add device "nearcast/gpu-seat" {} to the task's resources`) {
			return fmt.Errorf("%s: %s", a.ClientStatus, a.events())
		}
		return nil
	})
}
