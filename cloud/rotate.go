package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nearcast/nearcast/provision/secrets"
)

// Keep is where the cluster's secrets are kept: a folder, or a store of the cloud at each site.
// Their names are those of provision/secrets, such as shared/consul-gossip.key.
type Keep interface {
	Read(ctx context.Context) (map[string]string, error)
	// Write replaces all of them. A Write that was killed leaves such as were there or are new, and
	// StateFile is new only if all are.
	Write(ctx context.Context, files map[string]string) error
	// Tell says how nodes get what was written; empty if they fetch it themselves.
	Tell() string
}

// StateFile says how far a rotation is.
const StateFile = "rotation/state.json"

// What a node shows of its secrets in Consul (provision/templates/consul-agent.hcl.tmpl).
const (
	shownSecrets     = "secrets"
	shownCertificate = "certificate"       // its first name
	shownUntil       = "certificate_until" // RFC 3339
)

const (
	nextFile     = "rotation/next/"     // made, and not used yet
	previousFile = "rotation/previous/" // not used any more, and still good
)

// rotationState is the content of StateFile.
type rotationState struct {
	Secret string `json:"secret"`
	// Step is the one that is next, Since when the one before it was done.
	Step  int       `json:"step"`
	Since time.Time `json:"since"`
}

// Rotation is how one secret is replaced by a new one: the new one is accepted, then used, and then the
// old one is withdrawn. Each step changes nothing where it was taken already, so a rotation that
// was killed goes on with the step at which it was.
type Rotation struct {
	Name string
	// What it replaces, and Meanwhile what people or operators notice.
	What, Meanwhile string
	steps           []rotationStep
}

type rotationStep struct {
	does string
	take func(context.Context, *rotating) error
}

// RotateOptions say how Rotate works.
type RotateOptions struct {
	Keep Keep
	// Overlap is for how long at least the old secret stays good beside the new one, where more
	// than the rotation's own time is wanted.
	Overlap time.Duration
	// Settle is how long jobs may take to read what was told; default DefaultSettle.
	Settle time.Duration
	// Within is how long nodes may take to have what was told; default 30 h: nearcast-renew runs daily.
	Within time.Duration
	now    func() time.Time // default: time.Now
}

// DefaultSettle is longer than TURN servers take, which start again within 30 s of each other.
const DefaultSettle = 45 * time.Second

// rotating is a rotation that goes on.
type rotating struct {
	*Cluster
	RotateOptions
	state rotationState
	files map[string]string
	end   func() // lets other commands work
}

// Rotations are all that Rotate knows.
func Rotations() []Rotation {
	return []Rotation{ticketRotation, gossipRotation, consulTokens, managementTokens, nodeKey, authority, turnRotation, operatorRotation}
}

func rotation(name string) (Rotation, error) {
	var names []string
	for _, r := range Rotations() {
		if r.Name == name {
			return r, nil
		}
		names = append(names, r.Name)
	}
	return Rotation{}, fmt.Errorf("there is no secret %q; there are: %s", name, strings.Join(names, ", "))
}

// openRotation reads the secrets, and how far a rotation of them is.
func (c *Cluster) openRotation(ctx context.Context, name string, o RotateOptions) (Rotation, *rotating, error) {
	way, err := rotation(name)
	if err != nil {
		return way, nil, err
	}
	if o.now == nil {
		o.now = time.Now
	}
	if o.Settle == 0 {
		o.Settle = DefaultSettle
	}
	if o.Within == 0 {
		o.Within = 30 * time.Hour
	}
	r := &rotating{Cluster: c, RotateOptions: o, state: rotationState{Secret: name}}
	if r.files, err = o.Keep.Read(ctx); err != nil {
		return way, nil, err
	}
	r.files = secrets.Current(r.files)
	if text, ok := r.files[StateFile]; ok {
		if err := json.Unmarshal([]byte(text), &r.state); err != nil {
			return way, nil, fmt.Errorf("read %s: %w", StateFile, err)
		}
		if r.state.Secret != name {
			return way, nil, fmt.Errorf("the rotation of %s is not complete: finish it first: nearcast cloud rotate %s", r.state.Secret, r.state.Secret)
		}
		if r.state.Step < 0 || r.state.Step > len(way.steps) {
			return way, nil, fmt.Errorf("%s names the step %d of %d: another release of nearcast began this rotation; finish it with that one", StateFile, r.state.Step, len(way.steps))
		}
	}
	return way, r, nil
}

// RotationPlan says what Rotate would do, a line for each step. It changes nothing.
func (c *Cluster) RotationPlan(ctx context.Context, name string, o RotateOptions) ([]string, error) {
	way, r, err := c.openRotation(ctx, name, o)
	if err != nil {
		return nil, err
	}
	lines := []string{way.Name + ": " + way.What + ". " + way.Meanwhile}
	for i, step := range way.steps {
		done := "    "
		if i < r.state.Step {
			done = "done"
		}
		lines = append(lines, fmt.Sprintf("%s %d. %s", done, i+1, step.does))
	}
	return lines, nil
}

// Rotate replaces a secret. It waits for nodes and for times of overlap; it may be killed at any
// line, and another run goes on.
func (c *Cluster) Rotate(ctx context.Context, name string, o RotateOptions) error {
	if _, err := rotation(name); err != nil {
		return err
	}
	ctx, end, err := c.alone(ctx, "rotate "+name)
	if err != nil {
		return err
	}
	defer end()
	return taken(ctx, c.rotate(ctx, name, o, end))
}

func (c *Cluster) rotate(ctx context.Context, name string, o RotateOptions, end func()) error {
	way, r, err := c.openRotation(ctx, name, o)
	if err != nil {
		return err
	}
	r.end = end
	// A node of a site that is not whole may be one that never learns the new secret.
	if err := c.each(c.Outputs.Sites, func(site Site) error { return c.whole(ctx, site) }); err != nil {
		return fmt.Errorf("nothing was changed: %w", err)
	}
	for r.state.Step < len(way.steps) {
		step := way.steps[r.state.Step]
		c.say(fmt.Sprintf("%s: step %d of %d: %s", name, r.state.Step+1, len(way.steps), step.does))
		if err := step.take(ctx, r); err != nil {
			return fmt.Errorf("%s: step %d, %s: %w. Run the command again: it goes on there", name, r.state.Step+1, step.does, err)
		}
		r.state.Step++
		r.state.Since = r.now()
		if err := r.save(ctx); err != nil {
			return err
		}
	}
	maps.DeleteFunc(r.files, func(file, _ string) bool { return strings.HasPrefix(file, "rotation/") })
	return o.Keep.Write(ctx, r.files)
}

// save writes the secrets as they are, and how far the rotation is.
func (r *rotating) save(ctx context.Context) error {
	text, err := json.Marshal(r.state)
	if err != nil {
		return err
	}
	r.files[StateFile] = string(text) + "\n"
	return r.Keep.Write(ctx, r.files)
}

// make gives files their new values, but for those that have one already.
func (r *rotating) make(ctx context.Context, makes map[string]func() (string, error)) error {
	for name, value := range makes {
		if r.files[nextFile+name] != "" {
			continue
		}
		text, err := value()
		if err != nil {
			return err
		}
		r.files[nextFile+name] = text
	}
	return r.save(ctx)
}

// use puts the new values in the place of the old ones, which are kept.
func (r *rotating) use(ctx context.Context, names ...string) error {
	for _, name := range names {
		next := r.files[nextFile+name]
		if next == "" {
			return fmt.Errorf("there is no new %s among the secrets: were they restored from before?", name)
		}
		if old := r.files[name]; old != next {
			r.files[previousFile+name], r.files[name] = old, next
		}
	}
	return r.save(ctx)
}

// told waits until all nodes that are not lost show the secrets as they are, and the servers are whole
// with them.
func (r *rotating) told(ctx context.Context) error {
	want := secrets.Generation(r.files)
	if how := r.Keep.Tell(); how != "" {
		r.say(how)
	}
	ctx, cancel := context.WithTimeout(ctx, r.Within)
	defer cancel()
	err := r.each(r.Outputs.Sites, func(site Site) error {
		consul := r.Reach(site.Name).Consul
		return r.until(ctx, site.Name, "the nodes to have them", func(ctx context.Context) (string, error) {
			shown, err := consul.Shown(ctx)
			if err != nil {
				return "", err
			}
			var missing []string
			older, others := 0, map[string]bool{}
			for node, meta := range shown {
				has := meta[shownSecrets]
				if has != want {
					missing = append(missing, node)
					others[has] = true
				}
				if has == "" {
					older++
				}
			}
			if len(missing) == 0 && len(shown) > 0 {
				return "", nil
			}
			if len(shown) == 0 {
				return "Consul knows no node that is not lost", nil
			}
			words := fmt.Sprintf("%d of %d have not: %s show %s, not %s (on a node: systemctl start nearcast-renew, first on a server, one server after the other)",
				len(missing), len(shown), list(missing), list(sorted(others)), want)
			if older > 0 {
				words += fmt.Sprintf("; %d show nothing: they run an earlier release, which has to be replaced first", older)
			}
			return words, nil
		})
	})
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("%w. %s", err, notTold)
	}
	if err != nil {
		return err
	}
	// Agents that read them at their start alone are starting now.
	return r.everywhere(func(site Site, at Reached) error {
		return r.until(ctx, site.Name, "the servers to be whole again", func(ctx context.Context) (string, error) {
			return missingServers(ctx, at, site)
		})
	})
}

// notTold is for nodes that do not show the secrets in time.
const notTold = "A node that ran nearcast-renew after that and shows others has files that the kept secrets lack, or others: compare the names in /etc/nearcast/secrets of a server with those kept. " +
	"A later release on servers makes files that this one does not know: rotate with the release that the servers run. A node that does not come back has to be forgotten first (nearcast cloud doctor)"

// overlap waits until the step before is at least so long ago.
func (r *rotating) overlap(ctx context.Context, least time.Duration) error {
	until := r.state.Since.Add(max(least, r.Overlap))
	if left := until.Sub(r.now()); left > 0 {
		r.say(fmt.Sprintf("the old one stays good until %s; the command may be ended, and run again then", until.UTC().Format("15:04:05 MST on 2006-01-02")))
		timer := time.NewTimer(left)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// everywhere calls do at each site.
func (r *rotating) everywhere(do func(Site, Reached) error) error {
	return r.each(r.Outputs.Sites, func(site Site) error { return do(site, r.Reach(site.Name)) })
}

// change sets items of a variable at a site, where the variable is; an empty value removes one.
func (r *rotating) change(ctx context.Context, nomad Nomad, path string, set map[string]string) error {
	items, index, err := nomad.Variable(ctx, path)
	if err != nil || items == nil {
		return err
	}
	changed := maps.Clone(items)
	for item, value := range set {
		if changed[item] = value; value == "" {
			delete(changed, item)
		}
	}
	if maps.Equal(changed, items) {
		return nil
	}
	if err := nomad.PutVariable(ctx, path, changed, index); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// runs waits until a job is whole again after its tasks were started anew, where the site has it.
func (r *rotating) runs(ctx context.Context, site Site, at Reached, job string) error {
	return r.until(ctx, site.Name, job, func(ctx context.Context) (string, error) {
		state, err := at.Nomad.State(ctx, "default", job)
		if err != nil || !state.Exists || state.Stopped {
			return "", err
		}
		if state.Running < state.Wanted {
			return fmt.Sprintf("%d of %d run", state.Running, state.Wanted), nil
		}
		return "", nil
	})
}

// settled waits until jobs have read what was told.
func (r *rotating) settled(ctx context.Context) error {
	timer := time.NewTimer(r.Settle)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// trimmed is a file's value, without the end of its line.
func (r *rotating) trimmed(name string) string { return strings.TrimSpace(r.files[name]) }

var errNoGossip = errors.New("not every agent has the new key: an agent that is lost would never come back; mend it, or have it forgotten (nearcast cloud doctor)")

func sorted(m map[string]bool) []string { return slices.Sorted(maps.Keys(m)) }
