package router

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/nearcast/nearcast/internal/wire"
)

// maxName is the longest id of an app.
const maxName = 253

// readLaunch reads the body of POST /v1/sessions.
func readLaunch(object map[string]any) (wire.LaunchRequest, error) {
	f := &fields{object: object}
	var out wire.LaunchRequest
	app, hasApp := take[string](f, "app", "a string")
	version, hasVersion := take[json.Number](f, "version", "a number")
	rtt, _ := take[map[string]any](f, "rtt_ms", "an object of numbers by site")
	lost, _ := take[[]any](f, "lost", "a list of sites")
	preferences, hasPreferences := take[map[string]any](f, "preferences", "an object")
	set, _ := take[map[string]any](f, "params", "an object of strings by name")
	if err := f.end(); err != nil {
		return out, err
	}
	switch {
	case !hasApp || app == "":
		return out, problem(wire.ProblemInvalid, "/app", "Name the app to play; GET /v1/apps lists them.")
	case len(app) > maxName:
		return out, problem(wire.ProblemInvalid, "/app", "It must have at most 253 bytes.")
	}
	out.App = app
	if hasVersion {
		v, err := strconv.ParseUint(version.String(), 10, 64)
		switch {
		case errors.Is(err, strconv.ErrRange) || err != nil && strings.HasPrefix(version.String(), "-"):
			return out, problem(wire.ProblemInvalid, "/version", "It must be a version of the app, or 0 for the newest.")
		case err != nil:
			return out, problem(wire.ProblemMalformed, "/version", "It must be a whole number.")
		}
		out.Version = v
	}
	var err error
	if out.RTTMS, err = roundTrips(rtt, "/rtt_ms"); err != nil {
		return out, err
	}
	if out.Lost, err = names(lost, "/lost", "the name of a site"); err != nil {
		return out, err
	}
	if out.Params, err = texts(set, "/params"); err != nil {
		return out, err
	}
	if hasPreferences {
		if out.Preferences, err = readPreferences(preferences); err != nil {
			return out, err
		}
	}
	return out, nil
}

// readProbes reads the body of POST /v1/probes.
func readProbes(object map[string]any) (wire.ProbeRequest, error) {
	f := &fields{object: object}
	var out wire.ProbeRequest
	rtt, measured := take[map[string]any](f, "rtt_ms", "an object of numbers by site")
	silent, _ := take[map[string]any](f, "silent_ms", "an object of numbers by site")
	failed, _ := take[[]any](f, "failed", "a list of sites")
	if err := f.end(); err != nil {
		return out, err
	}
	if !measured {
		return out, problem(wire.ProblemInvalid, "/rtt_ms", "Send what was measured so far; {} if nothing was.")
	}
	var err error
	if out.RTTMS, err = roundTrips(rtt, "/rtt_ms"); err != nil {
		return out, err
	}
	if out.SilentMS, err = roundTrips(silent, "/silent_ms"); err != nil {
		return out, err
	}
	out.Failed, err = names(failed, "/failed", "the name of a site")
	return out, err
}

// roundTrips reads milliseconds by site.
func roundTrips(object map[string]any, at string) (map[string]float64, error) {
	if object == nil {
		return nil, nil
	}
	out := make(map[string]float64, len(object))
	var bad []string // all fields at fault, so that the error always names the same one
	for site, v := range object {
		ms, err := milliseconds(v, at)
		if err != nil {
			bad = append(bad, site)
		}
		out[site] = ms
	}
	if len(bad) > 0 {
		site := slices.Min(bad)
		_, err := milliseconds(object[site], pointer(at, site))
		return nil, err
	}
	return out, nil
}

func readPreferences(object map[string]any) (wire.Preferences, error) {
	const at = "/preferences"
	f := &fields{at: at, object: object}
	var out wire.Preferences
	allow, _ := take[[]any](f, "allow", "a list of sites")
	deny, _ := take[[]any](f, "deny", "a list of sites")
	residency, _ := take[[]any](f, "residency", "a list of jurisdictions")
	gpu, hasGPU := take[string](f, "gpu", "a string")
	most, hasMost := f.object["max_rtt_ms"]
	delete(f.object, "max_rtt_ms")
	if err := f.end(); err != nil {
		return out, err
	}
	var err error
	if out.Allow, err = names(allow, at+"/allow", "the name of a site"); err != nil {
		return out, err
	}
	if out.Deny, err = names(deny, at+"/deny", "the name of a site"); err != nil {
		return out, err
	}
	if out.Residency, err = names(residency, at+"/residency", "the name of a jurisdiction"); err != nil {
		return out, err
	}
	if i := slices.Index(out.Residency, ""); i >= 0 {
		return out, problem(wire.ProblemInvalid, fmt.Sprintf("%s/residency/%d", at, i), "Name a jurisdiction, such as \"eu\"; GET /v1/sites lists those of each site.")
	}
	if hasGPU && gpu == "" {
		return out, problem(wire.ProblemInvalid, at+"/gpu", "Name a class of GPU, or leave the field out; GET /v1/sites lists those of each site.")
	}
	out.GPU = gpu
	if hasMost {
		out.MaxRTTMS, err = milliseconds(most, at+"/max_rtt_ms")
	}
	return out, err
}

func names(list []any, at, what string) ([]string, error) {
	var out []string
	for i, v := range list {
		name, ok := v.(string)
		if !ok {
			return nil, problem(wire.ProblemMalformed, fmt.Sprintf("%s/%d", at, i), "It must be %s, not %s.", what, typeName(v))
		}
		out = append(out, name)
	}
	return out, nil
}

// texts reads strings by name.
func texts(object map[string]any, at string) (map[string]string, error) {
	var out map[string]string
	for _, name := range slices.Sorted(maps.Keys(object)) { // so that the error always names the same field
		text, ok := object[name].(string)
		if !ok {
			return nil, problem(wire.ProblemMalformed, pointer(at, name), "It must be a string, not %s.", typeName(object[name]))
		}
		if out == nil {
			out = make(map[string]string, len(object))
		}
		out[name] = text
	}
	return out, nil
}

// milliseconds reads the time of a round trip.
func milliseconds(v any, at string) (float64, error) {
	text, ok := v.(json.Number)
	if !ok {
		return 0, problem(wire.ProblemMalformed, at, "It must be a number of milliseconds, not %s.", typeName(v))
	}
	ms, err := text.Float64()
	if err != nil || math.IsNaN(ms) || ms < 0 || ms > wire.MaxRTTMS {
		return 0, problem(wire.ProblemInvalid, at, "It must be from 0 to %d milliseconds; leave out what was not measured.", wire.MaxRTTMS)
	}
	return ms + 0, nil // turns -0 into 0
}
