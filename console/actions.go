package console

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/nearcast/nearcast/console/login"
	"github.com/nearcast/nearcast/internal/answer"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// actTimeout bounds an action. It is carried out even if the browser is gone meanwhile.
const actTimeout = 20 * time.Second

// plan is an action that was asked for: what it is, and how it is done.
type plan struct {
	act      wire.ConsoleAct
	site, on string
	with     map[string]string
	need     wire.ConsoleRole // where it is more than needs says
	do       func(ctx context.Context, role wire.ConsoleRole) (any, error)
}

// action serves a request that changes something. read reads what is asked for and changes nothing.
func (c *Console) action(read func(*http.Request) (plan, error)) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Cache-Control", "no-store")
		s, ok := c.cfg.Sessions.Of(r)
		if !ok {
			answer.Write(rw, notLoggedIn())
			return
		}
		if !s.Allows(r) {
			answer.Write(rw, problem(wire.ConsoleProblemCSRF, http.StatusForbidden, "The request has not the login's token", "Send the header "+wire.ConsoleCSRFHeader+", as GET "+wire.ConsoleMePath+" says it. Load the page again."))
			return
		}
		r.Body = http.MaxBytesReader(rw, r.Body, 2*wire.MaxConsoleJob)
		p, err := read(r)
		if err != nil {
			c.fail(rw, "read an action", err)
			return
		}
		line := c.line(r, s, p)
		if need := cmp.Or(p.need, needs[p.act]); !may(s.Role, need) {
			no := roleTooLow(s.Role, need)
			c.note(line, resultRefused, no.Title)
			answer.Write(rw, no)
			return
		}
		// What cannot be written down is not done.
		if err := c.note(line, resultBegun, ""); err != nil {
			answer.Write(rw, problem(wire.ProblemUnavailable, http.StatusServiceUnavailable, "The audit log cannot be written", "Nothing was done. The console's log says why."))
			return
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), actTimeout)
		defer cancel()
		out, err := p.do(ctx, s.Role)
		if published, ok := out.(wire.ConsolePublished); ok && published.App != "" {
			line.On = published.App // a job file says it itself
		}
		if err != nil {
			no := c.asProblem(string(p.act), err)
			if !errors.As(err, new(wire.Problem)) {
				no.Detail = "It may have been done all the same: look before you try again. The console's log says more."
			}
			result := resultFailed
			if no.Status < http.StatusInternalServerError {
				result = resultRefused
			}
			c.note(line, result, strings.TrimSpace(no.Title+". "+no.Detail))
			answer.Write(rw, no)
			return
		}
		if p, ok := out.(wire.ConsolePublished); ok && len(p.Problems) > 0 {
			c.note(line, resultRefused, strings.Join(p.Problems, "; "))
			reply(rw, out)
			return
		}
		c.note(line, resultOK, "")
		select { // the page is to see it soon
		case c.hub.wake <- struct{}{}:
		default:
		}
		if out == nil {
			rw.WriteHeader(http.StatusNoContent)
			return
		}
		reply(rw, out)
	}
}

// line is the action's line in the audit log, without a result.
func (c *Console) line(r *http.Request, s *login.Session, p plan) wire.ConsoleAction {
	return wire.ConsoleAction{ID: rand.Text(), Who: s.Subject, Name: s.Name, Role: s.Role, From: from(r), Act: p.act, Site: p.site, On: p.on, With: p.with}
}

func from(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// note writes a line. Its error is logged, too.
func (c *Console) note(line wire.ConsoleAction, result, why string) error {
	line.Time, line.Result, line.Why = time.Now().UTC(), result, why
	err := c.cfg.Audit.Write(line)
	if err != nil {
		c.log.Error("an action is not in the audit log", "act", line.Act, "who", line.Who, "on", line.On, "result", result, "error", err)
	}
	return err
}

// Login notes a login that was tried; it is a login.Noted.
func (a *Audit) Login(log interface{ Error(string, ...any) }) login.Noted {
	return func(r *http.Request, p login.Person, why string) {
		line := wire.ConsoleAction{ID: rand.Text(), Time: time.Now().UTC(), Who: p.Subject, Name: p.Name, Role: p.Role, From: from(r), Act: wire.ActLogin, Result: resultOK}
		if why != "" {
			line.Result, line.Why = resultRefused, why
		}
		if err := a.Write(line); err != nil {
			log.Error("a login is not in the audit log", "error", err)
		}
	}
}

func (c *Console) logout(rw http.ResponseWriter, r *http.Request) {
	s, ok := c.cfg.Sessions.Of(r)
	if ok && !s.Allows(r) {
		answer.Write(rw, problem(wire.ConsoleProblemCSRF, http.StatusForbidden, "The request has not the login's token", "Send the header "+wire.ConsoleCSRFHeader+"."))
		return
	}
	if ok {
		c.note(c.line(r, s, plan{act: wire.ActLogout}), resultOK, "")
	}
	c.cfg.Sessions.End(rw, r)
	rw.WriteHeader(http.StatusNoContent)
}

// readBody reads a request's JSON. Unknown fields are refused: a misspelt one would change nothing.
func readBody(r *http.Request, into any) error {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if err == nil {
		_, err = dec.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		err = errors.New("something follows the object")
	}
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return problem(wire.ProblemTooLarge, http.StatusRequestEntityTooLarge, "The body is too large", fmt.Sprintf("%d bytes are the most.", large.Limit))
	}
	return problem(wire.ProblemMalformed, http.StatusBadRequest, "The body is not what it has to be", err.Error()+".")
}

func invalid(field, detail string) wire.Problem {
	return wire.Problem{Type: wire.ProblemInvalid, Title: "A value is not allowed", Status: http.StatusUnprocessableEntity, Field: field, Detail: detail}
}

func (c *Console) endSession(r *http.Request) (plan, error) {
	id := r.PathValue("id")
	if !ticket.ValidSession(id) {
		return plan{}, noSession()
	}
	return plan{act: wire.ActEnd, site: ticket.SiteOf(id), on: id, do: func(ctx context.Context, _ wire.ConsoleRole) (any, error) {
		return nil, c.cfg.Routers.End(ctx, id)
	}}, nil
}

// maxDrain is how long a drain may let sessions go on.
const maxDrain = 24 * 60 * 60

func (c *Console) orderNode(r *http.Request) (plan, error) {
	site, node := r.PathValue("site"), r.PathValue("node")
	if err := c.knows(site); err != nil {
		return plan{}, err
	}
	var order wire.ConsoleNodeOrder
	if err := readBody(r, &order); err != nil {
		return plan{}, err
	}
	switch order.Action {
	case wire.ActDrain, wire.ActKeep, wire.ActFree:
	default:
		return plan{}, invalid("/action", "action is node.drain, node.ineligible or node.eligible.")
	}
	if order.DeadlineS < 0 || order.DeadlineS > maxDrain {
		return plan{}, invalid("/deadline_s", "A drain may last from 1 second to a day; 0 is an hour.")
	}
	if _, ok := c.hub.item(nodes, site+"/"+node); !ok {
		return plan{}, problem(wire.ProblemNotFound, http.StatusNotFound, "There is no such node", "The console knows no node of this id at "+site+".")
	}
	p := plan{act: order.Action, site: site, on: node, do: func(ctx context.Context, role wire.ConsoleRole) (any, error) {
		return nil, c.cfg.Nomad.Order(ctx, role, site, node, order)
	}}
	if order.Action == wire.ActDrain {
		p.with = map[string]string{"deadline_s": strconv.FormatInt(order.DeadlineS, 10)}
	}
	return p, nil
}

// maxSeats bounds warm and max: a slip of the hand is not to start ten thousand seats.
const maxSeats = 10_000

func (c *Console) scaleApp(r *http.Request) (plan, error) {
	site, app, err := c.appOf(r)
	if err != nil {
		return plan{}, err
	}
	var to wire.ConsoleScale
	if err := readBody(r, &to); err != nil {
		return plan{}, err
	}
	p := plan{act: wire.ActScale, site: site, on: app, with: map[string]string{}}
	for name, value := range map[string]*int{"warm": to.Warm, "max": to.Max} {
		if value == nil {
			continue
		}
		if *value < 0 || *value > maxSeats {
			return plan{}, invalid("/"+name, fmt.Sprintf("%s is from 0 to %d.", name, maxSeats))
		}
		p.with[name] = strconv.Itoa(*value)
	}
	if len(p.with) == 0 {
		return plan{}, invalid("", "Give warm, max or both.")
	}
	p.do = func(ctx context.Context, role wire.ConsoleRole) (any, error) {
		return c.cfg.Nomad.Scale(ctx, role, site, app, to)
	}
	return p, nil
}

func (c *Console) revertApp(r *http.Request) (plan, error) {
	site, app, err := c.appOf(r)
	if err != nil {
		return plan{}, err
	}
	var to wire.ConsoleRevert
	if err := readBody(r, &to); err != nil {
		return plan{}, err
	}
	with := map[string]string{"to": strconv.FormatUint(to.To, 10), "version": strconv.FormatUint(to.Version, 10)}
	return plan{act: wire.ActRevert, site: site, on: app, with: with, do: func(ctx context.Context, role wire.ConsoleRole) (any, error) {
		return c.cfg.Nomad.Revert(ctx, role, site, app, to)
	}}, nil
}

func (c *Console) publishApp(r *http.Request) (plan, error) {
	site := r.PathValue("site")
	if err := c.knows(site); err != nil {
		return plan{}, err
	}
	var job wire.ConsolePublish
	if err := readBody(r, &job); err != nil {
		return plan{}, err
	}
	if job.Job == "" || len(job.Job) > wire.MaxConsoleJob {
		return plan{}, invalid("/job", fmt.Sprintf("A job file has from 1 to %d bytes.", wire.MaxConsoleJob))
	}
	return plan{act: wire.ActPublish, site: site, with: map[string]string{"dry_run": strconv.FormatBool(job.DryRun)}, do: func(ctx context.Context, role wire.ConsoleRole) (any, error) {
		return c.cfg.Nomad.Publish(ctx, role, site, job)
	}}, nil
}
