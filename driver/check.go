package driver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hcldec"
	hcljson "github.com/hashicorp/hcl/v2/json"
	"github.com/hashicorp/nomad/helper/pluginutils/hclspecutils"
	"github.com/hashicorp/nomad/plugins/base"
	"github.com/zclconf/go-cty/cty/msgpack"

	"github.com/nearcast/nearcast/internal/params"
	"github.com/nearcast/nearcast/internal/wire"
)

// CheckTask reads a task as wire.CheckArg says, and writes what a seat would complain of:
// the same schema and the same checks, before a job is registered. What only a node knows
// (what its operator allows) is told as a need.
func CheckTask(in io.Reader, out io.Writer) error {
	var task wire.TaskCheck
	if err := json.NewDecoder(in).Decode(&task); err != nil {
		return fmt.Errorf("read the task: %w", err)
	}
	return json.NewEncoder(out).Encode(verdict(task))
}

func verdict(task wire.TaskCheck) (v wire.TaskVerdict) {
	tc, err := decodeTask(task.Config)
	if err != nil {
		v.Problems = append(v.Problems, each(err)...)
		return v
	}
	var spec wire.Spec
	v.Problems = append(v.Problems, each(tc.apply(&spec))...)
	spec.Params, err = params.Parse(task.Params)
	if err != nil {
		v.Problems = append(v.Problems, fmt.Sprintf("meta.params: %v", err))
	} else if err := params.Check(spec.Params, spec.Args); err != nil {
		v.Problems = append(v.Problems, fmt.Sprintf("args: %v", err))
	}
	user := tc.User
	if user == "" {
		user = task.User
		v.Problems = append(v.Problems, each(unixUser("user", user))...)
	}
	if (tc.GPU || tc.Video.Encoder == nvidiaEncoder) && !task.GPU {
		what := "gpu = true"
		if !tc.GPU {
			what = fmt.Sprintf("video.encoder = %q", tc.Video.Encoder)
		}
		v.Problems = append(v.Problems, fmt.Sprintf("%s: %s", what, noReservation))
	}
	if user != "" {
		v.Needs = append(v.Needs, fmt.Sprintf("user = %q: allow.users of each node's driver must name it", user))
	}
	if spec.Network == wire.NetworkHost {
		v.Needs = append(v.Needs, `network = "host": allow.networks of each node's driver must have it`)
	}
	return v
}

// decodeTask reads a config as Nomad's agent does: by the schema.
func decodeTask(config []byte) (*TaskConfig, error) {
	// Nomad evaluates ${…} on the node. Here it stands for itself.
	file, diags := hcljson.Parse([]byte(strings.ReplaceAll(string(config), "${", "$${")), "config")
	if diags.HasErrors() {
		return nil, complaints(diags)
	}
	spec, diags := hclspecutils.Convert(taskConfigSpec)
	if diags.HasErrors() {
		return nil, complaints(diags)
	}
	value, diags := hcldec.Decode(file.Body, spec, nil)
	if diags.HasErrors() {
		return nil, complaints(diags)
	}
	packed, err := msgpack.Marshal(value, value.Type())
	if err != nil {
		return nil, err
	}
	var tc TaskConfig
	if err := base.MsgPackDecode(packed, &tc); err != nil {
		return nil, err
	}
	return &tc, nil
}

// complaints are the errors of HCL without the places of the JSON that nobody wrote.
func complaints(diags hcl.Diagnostics) error {
	var all []error
	for _, d := range diags {
		all = append(all, errors.New(strings.TrimSpace(strings.TrimSuffix(d.Summary, ".")+": "+d.Detail)))
	}
	return errors.Join(all...)
}

// each takes joined errors apart. What Nomad has still to evaluate is no error.
func each(err error) (out []string) {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range joined.Unwrap() {
			out = append(out, each(one)...)
		}
		return out
	}
	var bad *badValue
	if errors.As(err, &bad) && strings.Contains(fmt.Sprint(bad.Value), "${") {
		return nil
	}
	return []string{err.Error()}
}
