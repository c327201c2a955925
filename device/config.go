package device

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/hashicorp/nomad/plugins/shared/hclspec"
)

// mostSeats is far more than any GPU carries. It bounds what the node tells Nomad.
const mostSeats = 64

var configSpec = hclspec.NewObject(map[string]*hclspec.Spec{
	"seats_per_gpu":    hclspec.NewDefault(hclspec.NewAttr("seats_per_gpu", "number", false), hclspec.NewLiteral("1")),
	"encoder_sessions": hclspec.NewDefault(hclspec.NewAttr("encoder_sessions", "number", false), hclspec.NewLiteral("0")),
	"run_dir":          hclspec.NewDefault(hclspec.NewAttr("run_dir", "string", false), hclspec.NewLiteral(`"/run/nearcast"`)),
	"model": hclspec.NewBlockList("model", hclspec.NewObject(map[string]*hclspec.Spec{
		"name":  hclspec.NewAttr("name", "string", true),
		"seats": hclspec.NewAttr("seats", "number", true),
	})),
})

// config is the plugin's config in the agent.
type config struct {
	SeatsPerGPU     float64 `codec:"seats_per_gpu"`
	EncoderSessions float64 `codec:"encoder_sessions"`
	RunDir          string  `codec:"run_dir"`
	Models          []struct {
		Name  string  `codec:"name"`
		Seats float64 `codec:"seats"`
	} `codec:"model"`
}

// settings are a config that was checked.
type settings struct {
	seats    int
	byModel  map[string]int
	sessions int    // of a GPU's encoder at once; 0 is no limit
	runDir   string // the driver's
}

func (c config) check() (settings, error) {
	var errs []error
	whole := func(field string, v float64, least int) int {
		n := int(v)
		if v != float64(n) || n < least || n > mostSeats {
			errs = append(errs, fmt.Errorf("%s = %v: must be a whole number from %d to %d", field, v, least, mostSeats))
		}
		return n
	}
	s := settings{
		seats:    whole("seats_per_gpu", c.SeatsPerGPU, 1),
		sessions: whole("encoder_sessions", c.EncoderSessions, 0),
		byModel:  map[string]int{},
		runDir:   filepath.Clean(c.RunDir),
	}
	if !filepath.IsAbs(c.RunDir) {
		errs = append(errs, fmt.Errorf("run_dir = %q: must be the absolute path of the driver's run_dir", c.RunDir))
	}
	for _, m := range c.Models {
		name := modelName(m.Name)
		if _, twice := s.byModel[name]; twice || name == "" {
			errs = append(errs, fmt.Errorf("model { name = %q }: must be the name of a GPU such as \"nvidia-l4\", once each", m.Name))
		}
		s.byModel[name] = whole("model { seats }", m.Seats, 1)
	}
	return s, errors.Join(errs...)
}

// of is how many seats a GPU of this model carries. Each seat needs a session of the encoder.
func (s settings) of(model string) int {
	n, ok := s.byModel[model]
	if !ok {
		n = s.seats
	}
	if s.sessions > 0 {
		n = min(n, s.sessions)
	}
	return n
}

var notInNames = regexp.MustCompile(`[^a-z0-9.]+`)

// modelName is a model as a part of a device's name, and as brains name it in --gpu: "NVIDIA L4"
// is nvidia-l4.
func modelName(model string) string {
	return strings.Trim(notInNames.ReplaceAllString(strings.ToLower(model), "-"), "-")
}
