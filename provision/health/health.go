// Package health tells a node's auto scaling group when the node's agents stay dead. EC2
// looks at the machine alone: without it, a node whose Nomad has ended counts for ever.
//
//	err := health.Run(ctx, health.Config{Look: look, Sessions: sessions, Group: client, Lifecycle: me, Meta: imds})
//
// A part that is dead is restarted after five minutes, and again after ten: systemd restarts
// what has ended, but not what hangs. After fifteen minutes the node writes down why and has the
// group replace it. The times in which looks find a fault add up, until an hour of looks in a row has found none:
// an agent that dies again and again is dead. It is held back while
//
//   - Look finds that it is not this node's fault: the site has no leader, or somebody has stopped
//     the agent. All times begin anew then;
//   - a person's session runs on the node;
//   - the group is not whole: another node of it is sick, starts or ends. So the nodes of a group
//     are replaced one after the other, and each only when the one before it has become ready;
//   - the node booted less than three hours ago. So a fault that each new node has, some time after it became
//     ready, has no node replaced more often than that;
//   - the node was not well yet, and an hour is not over, until which its launch hook (package ready) decides.
//
// Servers do not run it. A server holds a part of the quorum: a new one in its place is a change
// of the quorum's members, which an operator begins when the others are whole.
//
// The process may be killed at any time: the next one counts from the beginning.
package health

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/nearcast/nearcast/provision/awsapi"
)

// Metadata is the instance metadata service.
type Metadata interface {
	Get(ctx context.Context, path string) (string, error)
}

// Group is the auto scaling group of the node.
type Group interface {
	Members(ctx context.Context, group string) (wanted int, members []awsapi.Member, err error)
	Unhealthy(ctx context.Context, l awsapi.Lifecycle) error
}

// PartNomad is the Part of a Nomad that does not answer.
const PartNomad = "Nomad"

// Fault is a part of the node that is dead.
type Fault struct {
	Part string
	Unit string // of systemd, which may mend it by a restart
	Err  error
}

// Seen is what one look found.
type Seen struct {
	Dead []Fault
	// Unknown says why it is not known whether the node is well, if nothing is dead. It changes nothing.
	Unknown string
	// Hold says why nothing is to be done about it, if so.
	Hold string
}

// Config says what is looked at, and who is told.
type Config struct {
	Look func(context.Context) Seen
	// Sessions counts the sessions of people on this node. An error counts as one. nil: none runs here.
	Sessions  func(context.Context) (int, error)
	Restart   func(ctx context.Context, unit string) error
	Group     Group
	Lifecycle awsapi.Lifecycle // an empty Instance is read from Meta
	Meta      Metadata
	// Keep keeps the reason where an operator finds it. It may be nil.
	Keep func(ctx context.Context, instance, reason string) error
	// Mark notes on the node whether its drain must not ask Nomad, which is dead. It may be nil.
	Mark func(given bool) error

	Dead   time.Duration // until the group is told; default 15 min. Restarts are after a third and two thirds
	Spread time.Duration // at most so much later, so that nodes do not tell at once; default 5 min
	Boot   time.Duration // default 1 h
	Well   time.Duration // without a fault, until those of before are forgotten; default 1 h
	// Young is how long after Booted the group is not told. No default.
	Young  time.Duration
	Booted time.Time
	Poll   time.Duration // between looks; default 30 s
	Log    *slog.Logger
}

// watch is the state of Run.
type watch struct {
	Config
	began  time.Time
	looked time.Time     // at last
	dead   time.Duration // that looks found a fault
	fine   time.Duration // that they have found none, in a row
	sick   bool          // there is a fault that is not forgotten
	spread time.Duration // of this fault
	tries  int           // restarts
	kept   bool          // the reason of this fault
	well   bool          // was it once
	marked *bool
	said   string
}

// Run looks until ctx ends.
func Run(ctx context.Context, c Config) error {
	w := &watch{Config: c, began: time.Now()}
	if w.Dead == 0 {
		w.Dead = 15 * time.Minute
	}
	if w.Spread == 0 {
		w.Spread = 5 * time.Minute
	}
	if w.Boot == 0 {
		w.Boot = time.Hour
	}
	if w.Well == 0 {
		w.Well = time.Hour
	}
	if w.Poll == 0 {
		w.Poll = 30 * time.Second
	}
	if w.Log == nil {
		w.Log = slog.Default()
	}
	tick := time.NewTicker(w.Poll)
	defer tick.Stop()
	for {
		w.look(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// look looks once, and does what is due.
func (w *watch) look(ctx context.Context) {
	seen := w.Look(ctx)
	if ctx.Err() != nil {
		return
	}
	if !nomadIsDead(seen.Dead) {
		w.mark(false)
	}
	now := time.Now()
	lasted := now.Sub(w.looked)
	if w.looked.IsZero() {
		lasted = 0
	}
	w.looked = now
	if len(seen.Dead) == 0 {
		if seen.Unknown != "" {
			w.say("it is not known whether the node is well", seen.Unknown)
			return
		}
		if !w.well || w.said != "" {
			w.Log.Info("the node is well")
		}
		w.well, w.said = true, ""
		if w.fine += lasted; w.sick && w.fine >= w.Well {
			w.Log.Info("the node is well again, and its fault is forgotten")
			w.sick = false
		}
		return
	}
	w.fine = 0
	words := Words(seen.Dead)
	hold := seen.Hold
	if !w.well && time.Since(w.began) < w.Boot {
		hold = "it was not well yet, and its launch hook decides"
	}
	if hold != "" {
		w.sick = false
		w.say("the node is not well, and is left alone: "+hold, words)
		return
	}
	if !w.sick {
		w.sick, w.dead, w.tries, w.kept, w.spread = true, 0, 0, false, rand.N(w.Spread) // #nosec G404 -- no secret
	} else {
		w.dead += lasted
	}
	if w.tries < 2 && w.dead >= w.Dead/3*time.Duration(w.tries+1) {
		w.tries++
		w.restart(ctx, seen.Dead)
		return
	}
	if w.dead < w.Dead+w.spread {
		w.say("the node is sick", words)
		return
	}
	if why := w.held(ctx); why != "" {
		w.say("the node is sick, and its group is not told: "+why, words)
		return
	}
	w.tell(ctx, seen.Dead)
}

// Words says which parts are dead.
func Words(dead []Fault) string {
	var words []string
	for _, f := range dead {
		words = append(words, f.Part+": "+f.Err.Error())
	}
	return strings.Join(words, "; ")
}

func (w *watch) say(what, dead string) {
	if line := what + dead; line != w.said {
		w.said = line
		w.Log.Warn(what, "dead", dead)
	}
}

// restart restarts each unit of the dead parts once.
func (w *watch) restart(ctx context.Context, dead []Fault) {
	done := map[string]bool{}
	for _, f := range dead {
		if done[f.Unit] {
			continue
		}
		done[f.Unit] = true
		w.Log.Warn("restarting what is dead", "part", f.Part, "unit", f.Unit, "error", f.Err)
		if err := w.Restart(ctx, f.Unit); err != nil && ctx.Err() == nil {
			w.Log.Error("cannot restart", "unit", f.Unit, "error", err)
		}
	}
}

// held says why the group must not be told now; "" if it may.
func (w *watch) held(ctx context.Context) string {
	if why := w.played(ctx); why != "" {
		return why
	}
	if up := time.Since(w.Booted); up < w.Young+w.spread {
		return fmt.Sprintf("the node booted less than %s ago", w.Young)
	}
	if w.Lifecycle.Instance == "" {
		id, err := w.Meta.Get(ctx, "instance-id")
		if err != nil {
			return "the instance's id is not known: " + err.Error()
		}
		w.Lifecycle.Instance = id
	}
	wanted, members, err := w.Group.Members(ctx, w.Lifecycle.Group)
	if err != nil {
		return err.Error()
	}
	return notWhole(wanted, members, w.Lifecycle.Instance)
}

// played says that somebody plays on this node; "" if nobody does.
func (w *watch) played(ctx context.Context) string {
	if w.Sessions == nil {
		return ""
	}
	switch n, err := w.Sessions(ctx); {
	case err != nil:
		return "it is not known whether a session runs here: " + err.Error()
	case n > 0:
		return fmt.Sprintf("sessions run here: %d", n)
	}
	return ""
}

// notWhole says why no node of a group may be replaced beside those that are; "" if this one may.
func notWhole(wanted int, members []awsapi.Member, me string) string {
	here := false
	for _, m := range members {
		here = here || m.Instance == me
		switch {
		case m.State != "InService":
			return fmt.Sprintf("the group is not whole: %s is %s", m.Instance, m.State)
		case !m.Healthy:
			return fmt.Sprintf("the group is not whole: %s is unhealthy", m.Instance)
		}
	}
	switch {
	case !here:
		return "the group does not have this node"
	case len(members) < wanted:
		return fmt.Sprintf("the group is not whole: it has %d of %d nodes", len(members), wanted)
	}
	return ""
}

// tell keeps the reason and tells the group.
func (w *watch) tell(ctx context.Context, dead []Fault) {
	if w.Keep != nil && !w.kept {
		reason := fmt.Sprintf("This node was dead for %s, and restarts did not help.\n\n%s\n", w.dead.Round(time.Second), Words(dead))
		if err := w.Keep(ctx, w.Lifecycle.Instance, reason); err != nil {
			w.Log.Error("cannot keep the reason why this node is given up", "error", err)
		} else {
			w.kept = true
		}
		// That took up to a minute. People get idle seats meanwhile, and other nodes give themselves up.
		if why := w.held(ctx); why != "" {
			w.kept = false // the reason that counts is of the time at which the group hears it
			w.say("the node is sick, and its group is not told: "+why, Words(dead))
			return
		}
	}
	w.Log.Error("giving up this node", "dead", Words(dead))
	if err := w.Group.Unhealthy(ctx, w.Lifecycle); err != nil {
		w.Log.Error("cannot tell the group", "error", err)
		return
	}
	if nomadIsDead(dead) {
		w.mark(true)
	}
}

// nomadIsDead: it drains nothing. With a driver that is sick alone, it does.
func nomadIsDead(dead []Fault) bool {
	return slices.ContainsFunc(dead, func(f Fault) bool { return f.Part == PartNomad })
}

// mark notes once that the node is given up, or that it is not.
func (w *watch) mark(given bool) {
	if w.Mark == nil || w.marked != nil && *w.marked == given {
		return // an earlier process may have left its mark
	}
	if err := w.Mark(given); err != nil {
		w.Log.Error("cannot note whether this node is given up", "given", given, "error", err)
		return
	}
	w.marked = &given
}
