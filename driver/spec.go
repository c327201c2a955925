package driver

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/hashicorp/nomad/plugins/drivers"

	"github.com/nearcast/nearcast/internal/params"
	"github.com/nearcast/nearcast/internal/wire"
)

// nonceEnv marks every process of a seat, so that the driver finds all of them.
const nonceEnv = "NEARCAST_NONCE"

// newSpec is all that a stream host needs: the plugin's settings, the task's config
// and the task's place in Nomad.
func newSpec(s settings, cfg *drivers.TaskConfig, users seatUsers, agentEnv []string) (*wire.Spec, error) {
	var tc TaskConfig
	if err := cfg.DecodeDriverConfig(&tc); err != nil {
		return nil, fmt.Errorf("decode task config: %w", err)
	}
	if cfg.Namespace == wire.FetchNamespace && !tc.FetchOnly {
		return nil, fmt.Errorf("task config: jobs in the namespace %s only fetch content: it needs fetch_only = true", cfg.Namespace)
	}
	app := parentJob(cfg)
	spec := &wire.Spec{
		Nonce: newNonce(),
		Alloc: cfg.AllocID, Task: cfg.Name, Node: cfg.NodeName,
		App: app, Job: cfg.JobID, Version: jobVersion(app, cfg.JobID),
		RunDir:  filepath.Join(s.runDir, seatDir(cfg.AllocID, cfg.Name)),
		TaskDir: cfg.TaskDir().Dir,
		Stdout:  cfg.StdoutPath, Stderr: cfg.StderrPath,
		Isolate: s.isolate, Cell: s.cell,
		SharedDir: cfg.Env["NOMAD_ALLOC_DIR"],
		XServer:   s.xServer,
		Cache:     s.cache, S3: s.s3, Consul: s.consul, Listen: s.listen,
		TicketKeys: s.ticketKeys,
		LeaseS:     int(lease.Seconds()),
	}
	if err := tc.apply(spec); err != nil {
		return nil, fmt.Errorf("task config: %w", err)
	}
	if err := reservedGPU(spec, tc.GPU, cfg.DeviceEnv); err != nil {
		return nil, err
	}
	var err error
	if spec.Params, err = params.Parse(cfg.Env["NOMAD_META_"+params.MetaKey]); err != nil {
		return nil, fmt.Errorf("the job's meta: %w", err)
	}
	if err := params.Check(spec.Params, spec.Args); err != nil {
		return nil, fmt.Errorf("task config: args: %w", err)
	}
	if err := unixUser("user", cfg.User); err != nil {
		return nil, fmt.Errorf("task: %w", err)
	}
	if s.ticketKeys == "" {
		return nil, fmt.Errorf("plugin config: ticket_keys is not set: name the PEM file with the routers' public keys")
	}
	for _, m := range cfg.Mounts {
		spec.Mounts = append(spec.Mounts, wire.Mount{Node: m.HostPath, Task: m.TaskPath, ReadOnly: m.Readonly})
	}
	user := cmp.Or(tc.User, cfg.User)
	if os.Geteuid() == 0 {
		spec.User = cmp.Or(user, users.text(users.app))
		spec.HostUser = users.text(users.host)
		spec.OwnUsers = []int{users.host}
		if user == "" {
			spec.OwnUsers = append(spec.OwnUsers, users.app)
		}
	} else {
		user = "" // it has no effect
	}
	if err := s.allow.permit(spec, user, cfg.Devices); err != nil {
		return nil, fmt.Errorf("task config: %w", err)
	}
	if len(spec.Mounts) > 0 && !spec.Isolate {
		return nil, fmt.Errorf("the task has a volume at %s, and only an isolated app can have volumes: run the agent as root with isolate = true", spec.Mounts[0].Task)
	}
	spec.Env = appEnv(cfg, spec, agentEnv)
	return spec, nil
}

// appEnv is the whole environment of the app. Nomad adds the agent's own variables
// to the job's. Of these the app gets only PATH, language and time zone, because
// others may be secrets. The stream host sets HOME and USER unless the job does.
func appEnv(cfg *drivers.TaskConfig, spec *wire.Spec, agentEnv []string) map[string]string {
	inherited := map[string]string{}
	for _, kv := range agentEnv {
		k, v, _ := strings.Cut(kv, "=")
		inherited[k] = v
	}
	env := map[string]string{}
	for k, v := range cfg.Env {
		if strings.HasPrefix(k, "AWS_") {
			// Also with a value that this process does not have: the agent may
			// have been restarted with new credentials since the plugin started.
			continue
		}
		if was, ok := inherited[k]; ok && was == v && !harmless(k) {
			continue
		}
		env[k] = v
	}
	setDefault := func(k, v string) {
		if env[k] == "" && v != "" {
			env[k] = v
		}
	}
	setDefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/games:/usr/games")
	setDefault("LANG", "C.UTF-8")
	env[nonceEnv] = spec.Nonce
	return env
}

// harmless reports whether a variable of the agent may reach an app.
func harmless(key string) bool {
	switch key {
	case "PATH", "LANG", "LANGUAGE", "TZ":
		return true
	}
	return strings.HasPrefix(key, "LC_")
}

// streamHostEnviron is the environment of a stream host: the agent's variables that
// its libraries and the S3 SDK read, and what device plugins give the task.
func streamHostEnviron(own []string, device map[string]string, nonce string) []string {
	var env []string
	for _, kv := range own {
		key, _, _ := strings.Cut(kv, "=")
		switch key {
		case "PATH", "HOME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH",
			"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy":
			env = append(env, kv)
			continue
		}
		for _, prefix := range []string{"AWS_", "SSL_CERT_", "GST_", "LIBVA_", "CUDA_", "NVIDIA_", "OTEL_"} {
			if strings.HasPrefix(key, prefix) {
				env = append(env, kv)
				break
			}
		}
	}
	for k, v := range device {
		env = append(env, k+"="+v)
	}
	return append(env, nonceEnv+"="+nonce)
}

// dispatched matches the end of the id of a child that a brain dispatched: the
// brain's prefix "v<version of the app's job>-<token>", and Nomad's time and random part.
var dispatched = regexp.MustCompile(`^/dispatch-v(\d+)(?:-.+)?-\d+-[0-9a-f]{8}$`)

// parentJob is the app: the job of which the task's job is a child, or the task's
// job itself. Nomad v1.11.2 does not send cfg.ParentJobID over gRPC, but sets it in
// the task's environment.
func parentJob(cfg *drivers.TaskConfig) string {
	return cmp.Or(cfg.ParentJobID, cfg.Env["NOMAD_JOB_PARENT_ID"], cfg.JobID)
}

// jobVersion is the version of the app's job at which this child was dispatched, or
// 0 where its id does not tell, because no brain dispatched it.
func jobVersion(parent, child string) uint64 {
	rest, ok := strings.CutPrefix(child, parent)
	if !ok {
		return 0
	}
	m := dispatched.FindStringSubmatch(rest)
	if m == nil {
		return 0
	}
	v, err := strconv.ParseUint(m[1], 10, 64)
	if err != nil {
		return 0
	}
	return v
}

func newNonce() string {
	return rand.Text()
}
