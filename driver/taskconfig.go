package driver

import (
	"errors"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/nearcast/nearcast/internal/unixuser"
	"github.com/nearcast/nearcast/internal/wire"
)

// TaskConfig is a task's config block with the defaults of taskConfigSpec. HCL
// checks only types: apply checks the values.
type TaskConfig struct {
	Command    string   `codec:"command"`
	Args       []string `codec:"args"`
	User       string   `codec:"user"`
	Network    string   `codec:"network"`
	Writable   string   `codec:"writable"`
	FreezeIdle bool     `codec:"freeze_idle"`
	Clipboard  string   `codec:"clipboard"`
	Audio      bool     `codec:"audio"`
	Gamepads   bool     `codec:"gamepads"`
	Start      string   `codec:"start"`
	Ready      string   `codec:"ready"`
	GPU        bool     `codec:"gpu"`

	ConfirmLeave bool `codec:"confirm_leave"`
	// Stills says who may look at stills of the picture.
	Stills string `codec:"stills"`

	FreezeQuiet  string `codec:"freeze_quiet"`
	FreezeLatest string `codec:"freeze_latest"`

	Content   []ContentConfig `codec:"content"`
	FetchOnly bool            `codec:"fetch_only"`
	Display   DisplayConfig   `codec:"display"`
	Video     VideoConfig     `codec:"video"`

	ContentTimeout string `codec:"content_timeout"`
	StartTimeout   string `codec:"start_timeout"`
	ReconnectGrace string `codec:"reconnect_grace"`
	IdleTimeout    string `codec:"idle_timeout"`
	MaxDuration    string `codec:"max_duration"`
}

// ContentConfig is a content block.
type ContentConfig struct {
	Source      string `codec:"source"`
	Destination string `codec:"destination"`
	SHA256      string `codec:"sha256"`
	VersionID   string `codec:"version_id"`
	Manifest    string `codec:"manifest"`
}

// DisplayConfig is the display block.
type DisplayConfig struct {
	Width   float64 `codec:"width"`
	Height  float64 `codec:"height"`
	FPS     float64 `codec:"fps"`
	Pointer string  `codec:"pointer"`
	Min     string  `codec:"min"`
	Max     string  `codec:"max"`
	Scale   string  `codec:"scale"`
	Touch   bool    `codec:"touch"`
}

// VideoConfig is the video block.
type VideoConfig struct {
	Codec   string `codec:"codec"`
	Encoder string `codec:"encoder"`
	Bitrate string `codec:"bitrate"`
}

// When the app starts.
const (
	startReady = "ready" // before the seat is idle
	startClaim = "claim" // when a session claims the seat
)

// What says that the app is presentable.
const (
	readyWindow = "window" // its first one
	readyApp    = "app"    // its word
)

// A smaller display shows nothing. Encoders refuse a larger one.
const (
	minSide = 64
	maxSide = 4096
	maxFPS  = 120
)

var (
	bucketName  = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	hexSHA256   = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)
	elementName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,63}$`)
)

// apply checks every field and writes it into the spec. The error names all fields
// that are wrong, because each try of a job takes long.
func (c *TaskConfig) apply(spec *wire.Spec) error {
	var errs []error
	check := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	var err error

	if strings.TrimSpace(c.Command) == "" || strings.ContainsRune(c.Command, 0) {
		check(&badValue{"command", c.Command, "the path of a program, or its name in PATH"})
	}
	spec.Command, spec.Args = c.Command, c.Args
	check(oneOf("start", c.Start, startReady, startClaim))
	spec.StartOnClaim = c.Start == startClaim
	check(oneOf("ready", c.Ready, readyWindow, readyApp))
	spec.ReadyByApp = c.Ready == readyApp
	check(unixUser("user", c.User))
	check(oneOf("network", c.Network, wire.NetworkNone, wire.NetworkInternet, wire.NetworkHost))
	spec.Network = c.Network
	if c.Writable != "" {
		spec.Cell.WritableBytes, err = bytesize("writable", c.Writable)
		check(err)
		check(writable("writable", c.Writable, spec.Cell.WritableBytes))
	}
	spec.FreezeIdle = c.FreezeIdle
	spec.FreezeQuietS, err = seconds("freeze_quiet", c.FreezeQuiet, false, time.Second, time.Hour)
	check(err)
	spec.FreezeLatestS, err = seconds("freeze_latest", c.FreezeLatest, false, time.Second, time.Hour)
	check(err)

	spec.Content, err = c.content()
	check(err)
	if spec.FetchOnly = c.FetchOnly; c.FetchOnly && len(c.Content) == 0 {
		check(&badValue{"fetch_only", true, "false where the task has no content block"})
	}

	d := &spec.Display
	d.Audio, d.Gamepads, d.Touch = c.Audio, c.Gamepads, c.Display.Touch
	d.Width, err = side("display.width", c.Display.Width)
	check(err)
	d.Height, err = side("display.height", c.Display.Height)
	check(err)
	d.FPS, err = whole("display.fps", c.Display.FPS, 1, maxFPS)
	check(err)
	check(oneOf("display.pointer", c.Display.Pointer, wire.PointerAuto, wire.PointerAbsolute, wire.PointerRelative))
	d.Pointer = c.Display.Pointer
	check(c.Display.follow(d))
	spec.ConfirmLeave = c.ConfirmLeave
	check(oneOf("stills", c.Stills, wire.StillsNone, wire.StillsOperator, wire.StillsAdmin))
	if c.Stills != wire.StillsNone {
		spec.Stills = c.Stills
	}
	check(oneOf("clipboard", c.Clipboard, wire.ClipboardNone, wire.ClipboardIn, wire.ClipboardOut, wire.ClipboardBoth))
	d.Clipboard = c.Clipboard

	check(oneOf("video.codec", c.Video.Codec, "h264", "vp8"))
	if !elementName.MatchString(c.Video.Encoder) {
		check(&badValue{"video.encoder", c.Video.Encoder, `"auto", or the name of a GStreamer element such as "x264enc"`})
	}
	spec.Video.Codec, spec.Video.Encoder = c.Video.Codec, c.Video.Encoder
	spec.Video.BitrateBPS, err = bitrate("video.bitrate", c.Video.Bitrate)
	check(err)

	spec.ContentTimeoutS, err = seconds("content_timeout", c.ContentTimeout, true, time.Second, 24*time.Hour)
	check(err)
	spec.StartTimeoutS, err = seconds("start_timeout", c.StartTimeout, false, time.Second, time.Hour)
	check(err)
	spec.ReconnectGraceS, err = seconds("reconnect_grace", c.ReconnectGrace, true, time.Second, time.Hour)
	check(err)
	spec.IdleTimeoutS, err = seconds("idle_timeout", c.IdleTimeout, true, time.Second, 24*time.Hour)
	check(err)
	spec.MaxDurationS, err = seconds("max_duration", c.MaxDuration, true, time.Second, 7*24*time.Hour)
	check(err)
	return errors.Join(errs...)
}

func (c *TaskConfig) content() ([]wire.Content, error) {
	var (
		out  []wire.Content
		errs []error
		seen = map[string]bool{}
	)
	for _, in := range c.Content {
		u, err := url.Parse(in.Source)
		if err != nil || u.Scheme != "s3" || !bucketName.MatchString(u.Host) || u.RawQuery != "" || u.Fragment != "" {
			errs = append(errs, &badValue{"content.source", in.Source, `"s3://bucket/key", or "s3://bucket/prefix/" for all below it`})
			continue
		}
		prefix := strings.HasSuffix(in.Source, "/") || u.Path == ""
		dest := path.Clean(in.Destination)
		switch {
		case in.Destination == "" || path.IsAbs(dest) || dest == ".." || strings.HasPrefix(dest, "../") || dest == "." && !prefix:
			errs = append(errs, &badValue{"content.destination", in.Destination, `a path below the task's directory, such as "local/model.glb"`})
		case top(dest) == "secrets" || top(dest) == "alloc":
			errs = append(errs, &badValue{"content.destination", in.Destination, `a path that other tasks and Nomad do not own, such as "local/model.glb"`})
		case seen[dest]:
			errs = append(errs, &badValue{"content.destination", in.Destination, "a path that no other content block has"})
		}
		seen[dest] = true
		switch {
		case in.SHA256 == "":
		case !hexSHA256.MatchString(in.SHA256):
			errs = append(errs, &badValue{"content.sha256", in.SHA256, "64 hexadecimal digits"})
		case prefix:
			errs = append(errs, &badValue{"content.sha256", in.SHA256, "empty where the source is a prefix: only one object has a checksum"})
		}
		if in.VersionID == "null" {
			errs = append(errs, &badValue{"content.version_id", in.VersionID, "the id of a version that never changes: \"null\" is written over by each upload; name a manifest or a sha256 instead"})
		}
		if in.VersionID != "" && (prefix || len(in.VersionID) > 1024 || strings.ContainsFunc(in.VersionID, notPrinted)) {
			errs = append(errs, &badValue{"content.version_id", in.VersionID, "the store's id of a version of one object, and empty where the source is a prefix"})
		}
		if in.Manifest != "" {
			if _, err := wire.ManifestSum(in.Manifest); err != nil || !prefix || u.Path == "" || u.Path == "/" {
				errs = append(errs, &badValue{"content.manifest", in.Manifest, "sha256: and 64 hexadecimal digits, of a source that is a prefix, as nearcast app publish prints them"})
			}
		}
		out = append(out, wire.Content{
			Source: in.Source, Destination: in.Destination, SHA256: strings.ToLower(in.SHA256), VersionID: in.VersionID, Manifest: strings.ToLower(in.Manifest),
		})
	}
	return out, errors.Join(errs...)
}

// notPrinted reports whether a character has no place in an id.
func notPrinted(r rune) bool { return r <= ' ' || r > '~' }

// top is the first element of a clean relative path.
func top(p string) string {
	first, _, _ := strings.Cut(p, "/")
	return first
}

// side is a width or a height. Video has one colour sample for each square of two
// by two pixels, so both must be even.
func side(field string, n float64) (int, error) {
	v, err := whole(field, n, minSide, maxSide)
	if err != nil || v%2 != 0 {
		return 0, &badValue{field, n, "an even number from 64 to 4096"}
	}
	return v, nil
}

func oneOf(field, value string, allowed ...string) error {
	for _, a := range allowed {
		if value == a {
			return nil
		}
	}
	return &badValue{field, value, `"` + strings.Join(allowed, `" or "`) + `"`}
}

// unixUser checks only the form: the keeper finds out which accounts there are.
func unixUser(field, text string) error {
	if text != "" && !unixuser.Valid(text) {
		return &badValue{field, text, unixuser.Grammar}
	}
	return nil
}
