package main

import "github.com/jezek/xgb/xproto"

// drawCounter draws the number of the frame as a row of 24 cells, grey or red. The
// picture keeps its one colour almost everywhere, and differs in each frame.
func (a *app) drawCounter() {
	const cell = 8
	for bit := range 24 {
		colour := uint32(0x808080)
		if a.frames>>bit&1 == 1 {
			colour = 0xff0000
		}
		xproto.ChangeGC(a.conn, a.gc, xproto.GcForeground, []uint32{colour})
		xproto.PolyFillRectangle(a.conn, xproto.Drawable(a.win), a.gc,
			[]xproto.Rectangle{{X: int16(bit * cell), Y: 0, Width: cell, Height: cell}})
	}
}

// drawBars paints the whole window with bars that move by four pixels per frame, each
// row at a speed of its own: everything in the picture moves, as in a game whose camera
// turns.
func (a *app) drawBars() {
	const width, height, step = 40, 60, 4
	colours := [...]uint32{0x1b2a38, 0x3f6f8f, 0xd9b26f, 0x8a3b2e, 0xe8e4d8, 0x5c7a4a}
	bars := make(map[uint32][]xproto.Rectangle, len(colours))
	for row := range a.height/height + 1 {
		shift := a.frames * step * (1 + row%3)
		first := shift / width
		for n := range a.width/width + 2 {
			c := colours[(first+n+row)%len(colours)]
			bars[c] = append(bars[c], xproto.Rectangle{
				X: int16(n*width - shift%width), Y: int16(row * height), Width: width, Height: height})
		}
	}
	for c, where := range bars {
		xproto.ChangeGC(a.conn, a.gc, xproto.GcForeground, []uint32{c})
		xproto.PolyFillRectangle(a.conn, xproto.Drawable(a.win), a.gc, where)
	}
	if a.presses > 0 { // black or white in the middle
		xproto.ChangeGC(a.conn, a.gc, xproto.GcForeground, []uint32{a.pixel})
		xproto.PolyFillRectangle(a.conn, xproto.Drawable(a.win), a.gc, []xproto.Rectangle{
			{X: int16(a.width * 2 / 5), Y: int16(a.height * 2 / 5), Width: uint16(a.width / 4), Height: uint16(a.height / 4)}})
	}
}
