package clipboard

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/jezek/xgb/xproto"

	"github.com/nearcast/nearcast/internal/wire"
)

const (
	// maxWhole is what one request of X carries, with room for the rest of it. What is longer
	// goes in pieces.
	maxWhole = wire.MaxClipText
	maxPiece = 64 << 10
	// maxGiving is how many applications are given something at a time.
	maxGiving = 8
	// givePatience is how long an application may take for a piece.
	givePatience = 30 * time.Second
)

// kindOf is the kind that a target asks for.
func (c *Clipboard) kindOf(target xproto.Atom) wire.ClipKind {
	a := c.atoms
	switch target {
	case a.utf8, a.plain, a.text, xproto.AtomString:
		return wire.ClipText
	case a.html:
		return wire.ClipHTML
	case a.png:
		return wire.ClipPNG
	}
	return ""
}

// give answers an application that pastes.
func (c *Clipboard) give(e xproto.SelectionRequestEvent) {
	if e.Property == 0 {
		e.Property = e.Target // clients of old
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	content, kind := c.content, c.kindOf(e.Target)
	switch {
	case !c.owned:
		c.answer(e, false)
	case e.Target == c.atoms.targets:
		var list []byte
		for _, atom := range c.targets() {
			list = binary.LittleEndian.AppendUint32(list, uint32(atom))
		}
		c.change(e, xproto.AtomAtom, 32, list)
		c.answer(e, true)
	case kind == wire.ClipText && content.Offer.Size(kind) == 0:
		if e.Target == xproto.AtomString {
			c.change(e, e.Target, 8, latin1(content.Text))
		} else {
			c.change(e, c.typeOf(e.Target), 8, []byte(content.Text))
		}
		c.answer(e, true)
	case content.Offer.Size(kind) > 0 && c.giving < maxGiving && e.Target != xproto.AtomString:
		c.giving++
		c.working.Go(func() {
			c.transfer(e, kind, content)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.giving--
		})
	default:
		c.answer(e, false)
	}
}

// targets are what can be asked for. The caller holds c.mu.
func (c *Clipboard) targets() []xproto.Atom {
	a, offer := c.atoms, &c.content.Offer
	list := []xproto.Atom{a.targets}
	switch {
	case offer.Text > 0:
		list = append(list, a.utf8, a.plain, a.text)
	case c.content.Text != "" || offer.ID == 0:
		list = append(list, a.utf8, a.plain, a.text, xproto.AtomString)
	}
	if offer.HTML > 0 {
		list = append(list, a.html)
	}
	if offer.PNG > 0 {
		list = append(list, a.png)
	}
	return list
}

// typeOf is what a value says that it is.
func (c *Clipboard) typeOf(target xproto.Atom) xproto.Atom {
	if target == c.atoms.text {
		return c.atoms.utf8
	}
	return target
}

func (c *Clipboard) change(e xproto.SelectionRequestEvent, kind xproto.Atom, format byte, data []byte) {
	xproto.ChangeProperty(c.conn, xproto.PropModeReplace, e.Requestor, e.Property, kind, format, uint32(len(data)*8/int(format)), data)
}

// answer tells an application that it has what it asked for, or that there is no such thing.
func (c *Clipboard) answer(e xproto.SelectionRequestEvent, has bool) {
	told := xproto.SelectionNotifyEvent{Time: e.Time, Requestor: e.Requestor, Selection: e.Selection, Target: e.Target, Property: e.Property}
	if !has {
		told.Property = 0
	}
	xproto.SendEvent(c.conn, false, e.Requestor, 0, string(told.Bytes()))
}

// transfer gives an application what has to be read first. What is long it gets in pieces
// as they come, so that it does not lose its patience. Where the rest does not come, it gets
// no end either: half of a picture is none.
func (c *Clipboard) transfer(e xproto.SelectionRequestEvent, kind wire.ClipKind, content Content) {
	size := content.Offer.Size(kind)
	if size <= maxWhole {
		data, ok := c.whole(kind, content)
		if ok {
			c.change(e, c.typeOf(e.Target), 8, data)
		}
		c.answer(e, ok)
		return
	}
	taken, done := c.await(e)
	if taken == nil {
		c.answer(e, false)
		return
	}
	defer done()
	c.change(e, c.atoms.incr, 32, binary.LittleEndian.AppendUint32(nil, uint32(size)))
	c.answer(e, true)
	for at := 0; ; {
		if !c.wait(taken) {
			return
		}
		var piece []byte
		if at < size {
			var err error
			if piece, err = content.Read(c.ctx, kind, at); err != nil {
				return
			}
			piece = piece[:min(len(piece), maxPiece, size-at)]
		}
		c.change(e, c.typeOf(e.Target), 8, piece)
		if at += len(piece); len(piece) == 0 {
			return
		}
	}
}

// whole reads all of a kind.
func (c *Clipboard) whole(kind wire.ClipKind, content Content) (data []byte, ok bool) {
	ctx, cancel := context.WithTimeout(c.ctx, givePatience)
	defer cancel()
	for len(data) < content.Offer.Size(kind) {
		piece, err := content.Read(ctx, kind, len(data))
		if err != nil {
			return nil, false
		}
		data = append(data, piece...)
	}
	return data, true
}

// await has the display tell when an application took the value of a property. nil is
// where its window is gone, or another transfer uses the property. done ends it.
func (c *Clipboard) await(e xproto.SelectionRequestEvent) (taken <-chan bool, done func()) {
	key, signal := value{e.Requestor, e.Property}, make(chan bool, 1)
	c.mu.Lock()
	used := c.awaits[key] != nil
	if !used {
		c.awaits[key] = signal
	}
	c.mu.Unlock()
	if used {
		return nil, nil
	}
	done = func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.awaits, key)
	}
	err := xproto.ChangeWindowAttributesChecked(c.conn, e.Requestor, xproto.CwEventMask, []uint32{xproto.EventMaskPropertyChange}).Check()
	if err != nil {
		done()
		return nil, nil
	}
	return signal, done
}

func (c *Clipboard) wait(taken <-chan bool) bool {
	timer := time.NewTimer(givePatience)
	defer timer.Stop()
	select {
	case <-taken:
		return true
	case <-timer.C:
		return false
	case <-c.ctx.Done():
		return false
	}
}

// latin1 is a text for clients that know no other: what it lacks is a question mark.
func latin1(text string) (out []byte) {
	for _, r := range text {
		if r > 0xff {
			r = '?'
		}
		out = append(out, byte(r))
	}
	return out
}
