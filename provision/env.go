package provision

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// ReadEnv reads Values from the format of /etc/nearcast/provision.env, which user data
// writes and a shell can read:
//
//	NEARCAST_ROLE='stream'
//	NEARCAST_SITE='eu-central-1'
//	NEARCAST_JOIN='provider=aws addr_type=private_v4 tag_key=nearcast-server tag_value=prod region=eu-central-1'
//	NEARCAST_MEDIA_PORTS='20000-20999'
//
// Commas separate the items of a list, because a way to join contains spaces. An empty
// value counts as not given. README.md lists all names. ReadEnv ignores names that are
// not for the agents' configuration, and returns unknown ones so that the caller can
// warn: they may be typing errors.
func ReadEnv(r io.Reader) (v Values, unknown []string, err error) {
	var errs []error
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if value, ok = unquote(value, ok); !ok {
			errs = append(errs, fmt.Errorf("line %d must be NAME=value or NAME='value'", n))
			continue
		}
		option := strings.TrimPrefix(name, "NEARCAST_")
		if option == name {
			unknown = append(unknown, name)
			continue
		}
		if value == "" || slices.Contains(others, option) {
			continue
		}
		set, ok := options[option]
		if !ok {
			unknown = append(unknown, name)
			continue
		}
		if err := set(&v, value); err != nil {
			errs = append(errs, fmt.Errorf("%s is %q: %w", name, value, err))
		}
	}
	if err := errors.Join(append(errs, lines.Err())...); err != nil {
		return v, unknown, fmt.Errorf("read values: %w", err)
	}
	return v, unknown, nil
}

// LoadEnv reads a file such as /etc/nearcast/provision.env.
func LoadEnv(path string) (Values, []string, error) {
	f, err := os.Open(path)
	if err != nil {
		return Values{}, nil, fmt.Errorf("read values: %w", err)
	}
	defer f.Close()
	v, unknown, err := ReadEnv(f)
	if err != nil {
		return v, unknown, fmt.Errorf("%s: %w", path, err)
	}
	return v, unknown, nil
}

// unquote removes quotes as a shell does. It refuses text that needs more of a shell.
func unquote(s string, ok bool) (string, bool) {
	for _, quote := range []string{"'", `"`} {
		if len(s) >= 2 && strings.HasPrefix(s, quote) && strings.HasSuffix(s, quote) {
			return s[1 : len(s)-1], ok && !strings.Contains(s[1:len(s)-1], quote)
		}
	}
	return s, ok && !strings.ContainsAny(s, "'\" \t")
}

// others are the names that only install.sh and jobs use.
var others = []string{
	"RELEASE_URL", "RELEASE_SHA256", "PACKAGES", "CONTENT_BUCKET", "BACKUP_URL", "BACKUP_REGION",
	"SSM_AGENT_URL", "SSM_AGENT_SHA256",
	"PUBLIC_URL", "ROUTER_URL", "ROUTER_PORT", "BRAIN_URL", "BRAIN_PORT", "TURN", "TURN_PORTS",
}

type setter func(v *Values, value string) error

func text(field func(*Values) *string) setter {
	return func(v *Values, value string) error { *field(v) = value; return nil }
}

func list(field func(*Values) *[]string) setter {
	return func(v *Values, value string) error {
		for item := range strings.SplitSeq(value, ",") {
			*field(v) = append(*field(v), strings.TrimSpace(item))
		}
		return nil
	}
}

func number(field func(*Values) *int) setter {
	return func(v *Values, value string) error {
		n, err := strconv.Atoi(value)
		if err != nil {
			return errors.New("it must be a whole number")
		}
		*field(v) = n
		return nil
	}
}

func yes(field func(*Values) *bool) setter {
	return func(v *Values, value string) error {
		switch value {
		case "yes", "true":
			*field(v) = true
		case "no", "false":
			*field(v) = false
		default:
			return errors.New("it must be yes or no")
		}
		return nil
	}
}

var options = map[string]setter{
	"ROLE":         func(v *Values, value string) error { v.Role = Role(value); return nil },
	"CLUSTER":      func(v *Values, value string) error { return v.setMeta("cluster", value) },
	"SITE":         text(func(v *Values) *string { return &v.Site }),
	"PRIMARY_SITE": text(func(v *Values) *string { return &v.Primary }),
	"NODE":         text(func(v *Values) *string { return &v.Node }),
	"POOL":         text(func(v *Values) *string { return &v.Pool }),
	"ZONE":         func(v *Values, value string) error { return v.setMeta("zone", value) },
	"INTERFACE":    text(func(v *Values) *string { return &v.Interface }),
	"ADDRESS":      text(func(v *Values) *string { return &v.Address }),
	"HTTP":         text(func(v *Values) *string { return &v.HTTP }),
	"JOIN":         list(func(v *Values) *[]string { return &v.Join }),
	"JOIN_WAN":     list(func(v *Values) *[]string { return &v.JoinWAN }),
	"SERVERS":      number(func(v *Values) *int { return &v.Servers }),

	"SECRET_SERVERS": text(func(v *Values) *string { return &v.Cloud.SecretServers }),
	"SECRET_EDGE":    text(func(v *Values) *string { return &v.Cloud.SecretEdge }),
	"SECRET_NODES":   text(func(v *Values) *string { return &v.Cloud.SecretNodes }),
	"ASG":            text(func(v *Values) *string { return &v.Cloud.Group }),
	"HOOK":           text(func(v *Values) *string { return &v.Cloud.Hook }),
	"READY_HOOK":     text(func(v *Values) *string { return &v.Cloud.ReadyHook }),
	"REPORTS_URL":    text(func(v *Values) *string { return &v.Cloud.Reports }),

	"PUBLIC_IP":     text(func(v *Values) *string { return &v.Stream.PublicIP }),
	"MEDIA_PORTS":   setMediaPorts,
	"GPU":           yes(func(v *Values) *bool { return &v.Stream.GPU }),
	"GPU_SEATS":     setGPUSeats,
	"ICE_PRIVATE":   yes(func(v *Values) *bool { return &v.Stream.Private }),
	"CACHE_GIB":     setCache,
	"CACHE_DEVICE":  func(v *Values, value string) error { v.Stream.LocalCache = value == "local"; return nil },
	"S3_ENDPOINT":   text(func(v *Values) *string { return &v.Stream.S3.Endpoint }),
	"S3_REGION":     text(func(v *Values) *string { return &v.Stream.S3.Region }),
	"S3_PATH_STYLE": yes(func(v *Values) *bool { return &v.Stream.S3.PathStyle }),

	"DRIVERS":         list(func(v *Values) *[]string { return &v.Tuning.Drivers }),
	"CPU":             number(func(v *Values) *int { return &v.Tuning.CPU }),
	"RESERVED_MEMORY": number(func(v *Values) *int { return &v.Tuning.ReservedMemory }),
	"NO_CLOUD":        yes(func(v *Values) *bool { return &v.Tuning.NoCloud }),
}

func (v *Values) setMeta(name, value string) error {
	if v.Meta == nil {
		v.Meta = make(map[string]string)
	}
	v.Meta[name] = value
	return nil
}

func setGPUSeats(v *Values, value string) error {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > mostGPUSeats {
		return errors.New(gpuSeatsAllowed)
	}
	v.Stream.GPUSeats = n
	return nil
}

func setMediaPorts(v *Values, value string) error {
	from, to, ok := strings.Cut(value, "-")
	low, err := strconv.Atoi(from)
	high, err2 := strconv.Atoi(to)
	if !ok || err != nil || err2 != nil {
		return errors.New("it must be a range such as 20000-20999")
	}
	v.Stream.PortMin, v.Stream.PortMax = low, high
	return nil
}

// setCache takes the size of the volume.
func setCache(v *Values, value string) error {
	gib, err := strconv.Atoi(value)
	if err != nil || gib < 1 {
		return errors.New("it must be a whole number, at least 1")
	}
	v.Stream.CacheSize = fmt.Sprintf("%dGiB", CacheOn(gib))
	return nil
}

// CacheOn is how large a cache may be on a disk, in GiB: a tenth, and at least 3 GiB, are for the file system, for
// downloads that are not complete yet, and for what else seats have on the disk, such as their logs.
func CacheOn(gib int) int { return max(1, min(gib*9/10, gib-3)) }
