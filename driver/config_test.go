package driver

import (
	"reflect"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/helper/pluginutils/hclutils"

	"github.com/nearcast/nearcast/internal/wire"
)

func validTask() *TaskConfig {
	return &TaskConfig{
		Command: "/usr/bin/true", Network: "none", Clipboard: "none", Stills: "none", Audio: true, FreezeIdle: true, FreezeQuiet: "2s", FreezeLatest: "60s",
		Display: DisplayConfig{Width: 1280, Height: 720, FPS: 30, Pointer: "auto"},
		Video:   VideoConfig{Codec: "h264", Encoder: "auto", Bitrate: "6Mbps"},
		Start:   startReady, Ready: readyWindow, ContentTimeout: "30m", StartTimeout: "60s", ReconnectGrace: "60s", IdleTimeout: "10m", MaxDuration: "8h",
	}
}

// A job that sets only the command gets the defaults of the schema.
func TestTaskConfigDefaults(t *testing.T) {
	var tc TaskConfig
	hclutils.NewConfigParser(taskConfigSpec).ParseHCL(t, `config { command = "f3d" }`, &tc)
	var s wire.Spec
	if err := tc.apply(&s); err != nil {
		t.Fatal(err)
	}
	want := wire.Display{Width: 1280, Height: 720, FPS: 30, Pointer: "auto", Audio: true, Clipboard: "none", Gamepads: true}
	if s.Display != want {
		t.Errorf("display %+v", s.Display)
	}
	if s.Video != (wire.Video{Codec: "h264", Encoder: "auto", BitrateBPS: 6_000_000}) {
		t.Errorf("video %+v", s.Video)
	}
	if s.ContentTimeoutS != 1800 || s.StartTimeoutS != 60 || s.ReconnectGraceS != 60 || s.IdleTimeoutS != 600 || s.MaxDurationS != 8*3600 {
		t.Errorf("times %+v", s)
	}
	if !s.FreezeIdle || s.ReadyByApp || s.FreezeQuietS != 2 || s.FreezeLatestS != 60 || s.Network != wire.NetworkNone || len(s.Content) != 0 {
		t.Errorf("got %+v", s)
	}
}

func TestTaskConfigFromHCL(t *testing.T) {
	var tc TaskConfig
	hclutils.NewConfigParser(taskConfigSpec).ParseHCL(t, `
config {
  command = "neverball"
  args    = ["-x"]
  audio   = false
  gamepads = false
  network = "host"
  idle_timeout = "0"
  content {
    source      = "s3://bucket/models/a.glb"
    destination = "local/a.glb"
    version_id  = "3HL4kqtJlcpXroDTDmJ"
    sha256      = "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855"
  }
  content {
    source      = "s3://bucket/levels/"
    destination = "local/levels"
    manifest    = "sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855"
  }
  display {
    fps     = 60
    pointer = "relative"
    min     = "640x360"
    max     = "2560x1440"
    scale   = "1.5"
  }
  confirm_leave = true
  stills        = "admin"
  ready         = "app"
  video {
    bitrate = 8000000
  }
}`, &tc)
	var s wire.Spec
	if err := tc.apply(&s); err != nil {
		t.Fatal(err)
	}
	if s.Display.FPS != 60 || s.Display.Width != 1280 || s.Display.Pointer != "relative" || s.Display.Audio || s.Display.Gamepads {
		t.Errorf("display %+v", s.Display)
	}
	if d := s.Display; d.MinWidth != 640 || d.MinHeight != 360 || d.MaxWidth != 2560 || d.MaxHeight != 1440 || d.Scale != 1.5 || !s.ConfirmLeave || !s.ReadyByApp || s.Stills != wire.StillsAdmin {
		t.Errorf("display %+v", d)
	}
	if s.Video.BitrateBPS != 8_000_000 || s.IdleTimeoutS != 0 || s.Network != "host" {
		t.Errorf("got %+v", s)
	}
	if len(s.Content) != 2 || s.Content[0].SHA256 != "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" || s.Content[1].Source != "s3://bucket/levels/" {
		t.Errorf("content %+v", s.Content)
	}
	if s.Content[0].VersionID != "3HL4kqtJlcpXroDTDmJ" || s.Content[1].Manifest != "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" {
		t.Errorf("versions %+v", s.Content)
	}
}

// With max alone, a display follows small windows too; with min alone, none that is larger.
func TestDisplayThatFollows(t *testing.T) {
	for _, c := range []struct {
		min, max               string
		minW, minH, maxW, maxH int
	}{
		{"", "", 0, 0, 0, 0},
		{"", "1920x1080", 320, 240, 1920, 1080},
		{"640x360", "", 640, 360, 1280, 720},
	} {
		task := validTask()
		task.Display.Min, task.Display.Max = c.min, c.max
		var s wire.Spec
		if err := task.apply(&s); err != nil {
			t.Fatal(err)
		}
		if d := s.Display; d.MinWidth != c.minW || d.MinHeight != c.minH || d.MaxWidth != c.maxW || d.MaxHeight != c.maxH {
			t.Errorf("min %q, max %q: %+v", c.min, c.max, d)
		}
	}
}

func TestTaskConfigRefuses(t *testing.T) {
	content := func(source, dest, sum string) func(*TaskConfig) {
		return func(c *TaskConfig) { c.Content = []ContentConfig{{Source: source, Destination: dest, SHA256: sum}} }
	}
	pinned := func(source, version, manifest string) func(*TaskConfig) {
		return func(c *TaskConfig) {
			c.Content = []ContentConfig{{Source: source, Destination: "local/a", VersionID: version, Manifest: manifest}}
		}
	}
	sum := "sha256:" + strings.Repeat("ab", 32)
	tests := map[string]struct {
		change func(*TaskConfig)
		want   string
	}{
		"command":                {func(c *TaskConfig) { c.Command = " " }, `command = " "`},
		"user":                   {func(c *TaskConfig) { c.User = "1000:1000:1" }, `user = "1000:1000:1": must be "name", "uid", "name:group" or "uid:gid"`},
		"network":                {func(c *TaskConfig) { c.Network = "bridge" }, `network = "bridge": must be "none" or "internet" or "host"`},
		"width odd":              {func(c *TaskConfig) { c.Display.Width = 1281 }, "display.width = 1281: must be an even number from 64 to 4096"},
		"height":                 {func(c *TaskConfig) { c.Display.Height = 0 }, "display.height = 0"},
		"fps":                    {func(c *TaskConfig) { c.Display.FPS = 29.97 }, "display.fps = 29.97: must be a whole number from 1 to 120"},
		"largest":                {func(c *TaskConfig) { c.Display.Max = "1920" }, `display.max = "1920": must be two even numbers from 64 to 4096, such as "1920x1080"`},
		"largest odd":            {func(c *TaskConfig) { c.Display.Max = "1921x1080" }, `display.max = "1921x1080"`},
		"max < width":            {func(c *TaskConfig) { c.Display.Max = "640x360" }, `display.max = "640x360": must be a size that has room for display.width and height, 1280x720`},
		"min > width":            {func(c *TaskConfig) { c.Display.Min = "1920x1080" }, `display.min = "1920x1080": must be a size within`},
		"scale":                  {func(c *TaskConfig) { c.Display.Scale = "NaN" }, `display.scale = "NaN": must be "auto", or a number from 1 to 4`},
		"stills":                 {func(c *TaskConfig) { c.Stills = "all" }, `stills = "all": must be "none" or "operator" or "admin"`},
		"clipboard":              {func(c *TaskConfig) { c.Clipboard = "yes" }, `clipboard = "yes": must be "none" or "in" or "out" or "both"`},
		"pointer":                {func(c *TaskConfig) { c.Display.Pointer = "mouse" }, `display.pointer = "mouse": must be "auto" or "absolute" or "relative"`},
		"codec":                  {func(c *TaskConfig) { c.Video.Codec = "av1" }, `video.codec = "av1": must be "h264" or "vp8"`},
		"encoder":                {func(c *TaskConfig) { c.Video.Encoder = "x264enc ! filesink" }, "video.encoder"},
		"bitrate":                {func(c *TaskConfig) { c.Video.Bitrate = "8 Mb" }, `video.bitrate = "8 Mb"`},
		"bitrate low":            {func(c *TaskConfig) { c.Video.Bitrate = "8" }, "100kbps"},
		"ready":                  {func(c *TaskConfig) { c.Ready = "soon" }, `ready = "soon": must be "window" or "app"`},
		"start":                  {func(c *TaskConfig) { c.Start = "later" }, `start = "later": must be "ready" or "claim"`},
		"timeout":                {func(c *TaskConfig) { c.StartTimeout = "0" }, "start_timeout"},
		"content time":           {func(c *TaskConfig) { c.ContentTimeout = "1ms" }, `content_timeout = "1ms": must be a duration from 1s to 24h, or "0" for none`},
		"version of a prefix":    {pinned("s3://bucket/set/", "v1", ""), "content.version_id"},
		"a version that changes": {pinned("s3://bucket/key", "null", ""), "content.version_id"},
		"version with a space":   {pinned("s3://bucket/key", "v 1", ""), "content.version_id"},
		"manifest of an object":  {pinned("s3://bucket/key", "", sum), "content.manifest"},
		"manifest of a bucket":   {pinned("s3://bucket/", "", sum), "content.manifest"},
		"malformed manifest":     {pinned("s3://bucket/set/", "", "sha256:ab"), "content.manifest"},
		"idle":                   {func(c *TaskConfig) { c.IdleTimeout = "25h" }, `idle_timeout = "25h": must be a duration from 1s to 24h, or "0" for none`},
		"grace":                  {func(c *TaskConfig) { c.ReconnectGrace = "60" }, `reconnect_grace = "60"`},
		"max":                    {func(c *TaskConfig) { c.MaxDuration = "-1s" }, "max_duration"},

		"content scheme":   {content("https://x/y", "local/a", ""), "content.source"},
		"content bucket":   {content("s3:///key", "local/a", ""), "content.source"},
		"content escapes":  {content("s3://bucket/key", "local/../../a", ""), "content.destination"},
		"content absolute": {content("s3://bucket/key", "/etc/passwd", ""), "content.destination"},
		"content secrets":  {content("s3://bucket/key", "secrets/a", ""), "content.destination"},
		"content no name":  {content("s3://bucket/key", ".", ""), "content.destination"},
		"content sum":      {content("s3://bucket/key", "local/a", "abc"), "content.sha256"},
		"content sum of prefix": {
			content("s3://bucket/p/", "local/a", strings.Repeat("0", 64)), "only one object"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := validTask()
			tt.change(c)
			err := c.apply(new(wire.Spec))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want it to say %s", err, tt.want)
			}
		})
	}
	t.Run("says all at once", func(t *testing.T) {
		c := validTask()
		c.Display.FPS, c.Network = 0, "x"
		err := c.apply(new(wire.Spec))
		if err == nil || !strings.Contains(err.Error(), "display.fps") || !strings.Contains(err.Error(), "network") {
			t.Errorf("got %v", err)
		}
	})
}

func TestUnits(t *testing.T) {
	for text, want := range map[string]int{"8Mbps": 8_000_000, "800kbps": 800_000, "2500000": 2_500_000, "1.5 Mbps": 1_500_000} {
		if got, err := bitrate("b", text); err != nil || got != want {
			t.Errorf("bitrate %q: %d, %v", text, got, err)
		}
	}
	for text, want := range map[string]int64{"20GiB": 20 << 30, "500MB": 500_000_000, "0": 0, "12": 12} {
		if got, err := bytesize("s", text); err != nil || got != want {
			t.Errorf("size %q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "GiB", "-1", "1e3", "NaN", "20 gib", "9999999999GiB"} {
		if got, err := bytesize("s", text); err == nil {
			t.Errorf("size %q: %d", text, got)
		}
		if got, err := bitrate("b", text); err == nil {
			t.Errorf("bitrate %q: %d", text, got)
		}
	}
	if got, err := seconds("d", "1500ms", false, 1e9, 60e9); err != nil || got != 2 {
		t.Errorf("1500ms: %d, %v", got, err)
	}
}

func TestPluginConfig(t *testing.T) {
	parse := func(hcl string) *Config {
		var c Config
		hclutils.NewConfigParser(configSpec).ParseHCL(t, hcl, &c)
		return &c
	}
	t.Setenv("AWS_REGION", "eu-north-1")
	s, err := parse(`config {}`).check(true)
	if err != nil {
		t.Fatal(err)
	}
	if s.runDir != "/run/nearcast" || s.users != (userRange{2_000_000_000, 10_000}) || !s.isolate || s.cache.MaxBytes != 20<<30 ||
		!reflect.DeepEqual(s.xServer, wire.XServer{Server: "auto", Driver: "nvidia"}) ||
		s.consul.Address != "127.0.0.1:8500" || s.s3.Region != "eu-north-1" || s.listen.API == "" {
		t.Errorf("defaults: %+v", s)
	}
	if s, err := parse(`config {}`).check(false); err != nil || s.isolate {
		t.Errorf("without root: %+v, %v", s, err)
	}
	s, err = parse(`config {
  isolate = false
  display {
    server  = "xorg"
    bus_id  = "PCI:0:30:0"
    options = ["UseDisplayDevice=None", "ConnectedMonitor=DP-0"]
  }
  s3 {
    endpoint   = "http://127.0.0.1:7070"
    path_style = true
  }
  listen {
    api       = "{{ GetInterfaceIP \"lo\" }}"
    public_ip = "203.0.113.9"
    port_min  = 20000
    port_max  = 20100
    loopback  = true
  }
  ice {
    private = true
    deny    = ["203.0.113.7/24"]
  }
}`).check(true)
	if err != nil {
		t.Fatal(err)
	}
	want := wire.Listen{API: "127.0.0.1", PublicIP: "203.0.113.9", PortMin: 20000, PortMax: 20100, Loopback: true,
		Private: true, Deny: []string{"203.0.113.0/24"}}
	if !reflect.DeepEqual(s.listen, want) || s.isolate || !s.s3.PathStyle {
		t.Errorf("got %+v", s)
	}

	wantServer := wire.XServer{Server: "xorg", Driver: "nvidia", BusID: "PCI:0:30:0", Options: []string{"UseDisplayDevice=None", "ConnectedMonitor=DP-0"}}
	if !reflect.DeepEqual(s.xServer, wantServer) {
		t.Errorf("display server %+v", s.xServer)
	}
	if s, err := parse("config {\n display {\n server = \"xvfb\"\n }\n }").check(true); err != nil || !reflect.DeepEqual(s.xServer, wire.XServer{Server: "xvfb"}) {
		t.Errorf("display server %+v, %v", s.xServer, err)
	}

	for hcl, say := range map[string]string{
		"display {\n server = \"wayland\"\n }":                  `display.server = "wayland": must be "auto", "xvfb", "xdummy" or "xorg"`,
		"display {\n driver = \"dummy\"\n }":                    "display.driver",
		"display {\n server = \"xorg\"\n driver = \"../x\"\n }": "display.driver",
		"display {\n bus_id = \"0000:01:00.0\"\n }":             "display.bus_id",
		"display {\n options = [\"Name=va\\\"lue\"]\n }":        "display.options",
		"display {\n options = [\"UseDisplayDevice None\"]\n }": "display.options",
		`run_dir = "run"`:                                "run_dir",
		"allow {\n users = [\"nobody:\"]\n }":            `allow.users = "nobody:": must be "name"`,
		"allow {\n networks = [\"bridge\"]\n }":          `allow.networks = "bridge": must be "none" or "internet" or "host"`,
		"allow {\n devices = [\"/etc/passwd\"]\n }":      `allow.devices = "/etc/passwd"`,
		"users {\n min = 5\n }":                          `users.min = 5: must be a whole number from 1000`,
		"users {\n max = 2000000002\n }":                 `users.max = 2000000002: must be above users.min, for an even number of ids`,
		"users {\n min = 3000\n max = 2999\n }":          `users.max = 2999`,
		"cell {\n paths = [\"/\"]\n }":                   `cell.paths = "/"`,
		"cell {\n writable = \"1MiB\"\n }":               `cell.writable = "1MiB": must be a size of at least "16MiB"`,
		"cell {\n processes = 1\n }":                     `cell.processes = 1`,
		"internet {\n deny = [\"10.0.0.1\"]\n }":         `internet.deny = "10.0.0.1": must be a network`,
		"internet {\n resolvers = [\"dns.example\"]\n }": `internet.resolvers`,
		`run_dir = "/` + strings.Repeat("x", 90) + `"`:   "at most",
		`stream_host = "stream-host"`:                    "stream_host",
		`isolate = true`:                                 "isolate",
		"cache {\n max_size = \"many\"\n }":              "cache.max_size",
		"cache {\n dir = \"cache\"\n }":                  "cache.dir",
		"s3 {\n endpoint = \"minio\"\n }":                "s3.endpoint",
		"consul {\n address = \"local\"\n }":             "consul.address",
		"listen {\n api = \"here\"\n }":                  "listen.api",
		"listen {\n api = \"{{ Nope }}\"\n }":            "listen.api",
		"listen {\n port_max = 5\n }":                    "listen.port_max",
		"listen {\n port_min = 70000\n }":                "listen.port_min",
	} {
		_, err := parse("config {\n" + hcl + "\n}").check(false)
		if err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("%s: %v", hcl, err)
		}
	}
}

func TestJobVersion(t *testing.T) {
	for _, tt := range []struct {
		parent, child string
		want          uint64
	}{
		{"viewer", "viewer/dispatch-v12-1700000000-0123abcd", 12},
		{"viewer", "viewer/dispatch-v12-s-abcd2345-1700000000-0123abcd", 12},
		{"viewer", "viewer/dispatch-v12-pool~0b5c-11-1700000000-0123abcd", 12},
		{"viewer", "viewer/dispatch-1700000000-0123abcd", 0},
		{"viewer", "viewer/dispatch-v12x-1700000000-0123abcd", 0},
		{"viewer", "other/dispatch-v12-1700000000-0123abcd", 0},
		{"viewer", "viewer/dispatch-v99999999999999999999-1700000000-0123abcd", 0},
		{"", "viewer", 0},
	} {
		if got := jobVersion(tt.parent, tt.child); got != tt.want {
			t.Errorf("%s of %s: %d, want %d", tt.child, tt.parent, got, tt.want)
		}
	}
}
