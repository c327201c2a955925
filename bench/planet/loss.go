package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// loss measures how soon a person whose site is cut off sees the app at another site.
func (b *bench) loss(ctx context.Context) error {
	if err := b.planet.Locate(b.lose); err != nil {
		return err
	}
	var all, noticed, moved, perfect []float64
	var from, to []string
	for run := range b.losses {
		l, err := b.lost(ctx)
		if err != nil {
			return err
		}
		say("%s was lost, %d of %d: at %s after %.0f ms", l.from, run+1, b.losses, l.to, l.all)
		all, noticed, moved = append(all, l.all), append(noticed, l.all-l.moved), append(moved, l.moved)
		from, to = append(from, l.from), append(to, l.to)
		if l.to == l.best {
			perfect = append(perfect, 1)
		} else {
			perfect = append(perfect, 0)
		}
	}
	with := func(part string) map[string]any {
		return map[string]any{"place": b.lose, "site": names(from), "next": names(to), "part": part}
	}
	return errors.Join(
		b.report.Line("site_loss", "ms", all, with("all")),
		b.report.Line("site_loss", "ms", noticed, with("noticed")),
		b.report.Line("site_loss", "ms", moved, with("moved")),
		b.report.Value("loss_perfect", "share", mean(perfect), map[string]any{"place": b.lose}),
	)
}

// move is how a person came from a lost site to another. Times are in ms.
type move struct {
	from, to, best string
	all            float64 // cut → picture at the next site
	moved          float64 // part of all: since the page was sure of the loss
}

// lost is one visit whose site is lost.
func (b *bench) lost(ctx context.Context) (l move, err error) {
	return l, b.visit(ctx, func(ctx context.Context, v *visit) (err error) {
		s, err := v.play(ctx)
		if err != nil {
			return err
		}
		l.from = s.Site
		if l.best, _, err = b.best(l.from); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, b.planet.Heal("", "")) }()
		if err := b.planet.Cut(l.from, ""); err != nil {
			return err
		}
		cut := time.Now()
		if err := v.page.Until(ctx, fmt.Sprintf("nearcast.moves.length > 0 && nearcast.site !== %q && nearcast.state === 'streaming'", l.from)); err != nil {
			return err
		}
		l.all = ms(time.Since(cut))
		if err := v.page.Eval(ctx, "nearcast.moves[0].ms", &l.moved); err != nil {
			return err
		}
		if err := v.page.Eval(ctx, "nearcast.site", &l.to); err != nil {
			return err
		}
		return v.leave(ctx)
	})
}
