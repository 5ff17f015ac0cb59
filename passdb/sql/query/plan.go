// Package query makes a database query with variables into one with parameters. It knows how each
// server reads strings, names and comments, and writes a value into the text only where no parameter
// can stand and the server's own rules make it safe. It knows no database; imported by passdb/sql.
package query

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
)

// Mark stands for a variable in a skeleton: the text of a query with its variables taken out.
const Mark = 0

// Plan is a query as one dialect reads it. Strings that hold variables have become parameters;
// where the grammar allows no parameter they stay quoted texts, and are written with the server's
// own rules. It is safe for concurrent use.
type Plan struct {
	// Params is the number of parameters.
	Params int
	// Text is the query with placeholders. It is complete, and can stay prepared, unless Fixed is
	// false: then each set of values makes its own text.
	Text  string
	Fixed bool
	// Written is for the caller to remember that the server refuses the parameters, and takes the
	// same query with the values written as quoted texts.
	Written atomic.Bool

	dialect Dialect
	parts   []part
}

// part is a piece of a query: plain text, a parameter, a quoted text with variables, or a variable
// on its own.
type part struct {
	kind   partKind
	text   string    // plainPart
	before string    // the opening of a quoted text; what stands for it is between before and after
	after  string    //
	style  style     //
	values []segment // parameter and quoted text
	bare   bareRule  // barePart
}

type partKind uint8

const (
	plainPart  partKind = iota
	paramPart           // a string that is sent as a parameter
	quotedPart          // a quoted text that cannot be a parameter
	barePart            // a variable outside quotes
)

// segment is fixed text or a variable within a quoted text.
type segment struct {
	raw      string // as written in the query
	text     string // what it stands for
	variable int    // -1: none
}

// bareRule says what a variable outside quotes may hold.
type bareRule uint8

const (
	bareNumber bareRule = iota // digits
	bareName                   // letters, digits and _: a part of a name
)

const maxBare = 64 // bytes of a variable outside quotes

// Compile reads a skeleton.
func Compile(skeleton string, d Dialect) (*Plan, error) {
	x := &scanner{s: skeleton, d: d}
	if err := x.scan(); err != nil {
		return nil, err
	}
	x.flush()
	p := &Plan{dialect: d, parts: x.parts, Fixed: true}
	var b []byte
	for i := range p.parts {
		switch part := &p.parts[i]; part.kind {
		case plainPart:
			b = append(b, part.text...)
		case paramPart:
			p.Params++
			b = d.placeholder(b, p.Params)
		default:
			p.Fixed = false
		}
	}
	if p.Fixed {
		p.Text = string(b)
	}
	return p, nil
}

func (d Dialect) placeholder(dst []byte, n int) []byte {
	if d.Engine == MySQL {
		return append(dst, '?')
	}
	if d.Engine == PostgreSQL {
		dst = append(dst, '$')
	} else {
		dst = append(dst, '?')
	}
	return strconv.AppendInt(dst, int64(n), 10)
}

// Args appends the parameters to dst. One that is a single variable is not copied.
func (p *Plan) Args(dst, values []string) []string {
	for i := range p.parts {
		if p.parts[i].kind != paramPart {
			continue
		}
		seg := p.parts[i].values
		if len(seg) == 1 {
			dst = append(dst, values[seg[0].variable])
			continue
		}
		var b strings.Builder
		for _, s := range seg {
			if s.variable >= 0 {
				b.WriteString(values[s.variable])
			} else {
				b.WriteString(s.text)
			}
		}
		dst = append(dst, b.String())
	}
	return dst
}

// Render writes the query with its values. With params the strings that can be parameters are
// placeholders, without they are written too. It refuses values that it cannot make safe.
func (p *Plan) Render(values []string, params bool) (string, error) {
	var b []byte
	n := 0
	for i := range p.parts {
		x := &p.parts[i]
		var err error
		switch {
		case x.kind == plainPart:
			b = append(b, x.text...)
		case x.kind == barePart:
			b, err = x.bare.write(b, values[x.values[0].variable])
		case x.kind == paramPart && params:
			n++
			b = p.dialect.placeholder(b, n)
		default:
			b, err = x.quoted(b, p.dialect, values)
		}
		if err != nil {
			return "", err
		}
	}
	return string(b), nil
}

func (x *part) quoted(b []byte, d Dialect, values []string) ([]byte, error) {
	b = append(b, x.before...)
	for _, s := range x.values {
		if s.variable < 0 {
			b = append(b, s.raw...)
			continue
		}
		var err error
		if b, err = x.style.write(b, d, values[s.variable]); err != nil {
			return b, err
		}
	}
	return append(b, x.after...), nil
}

func (r bareRule) write(dst []byte, value string) ([]byte, error) {
	if value == "" || len(value) > maxBare {
		return dst, errBare(r)
	}
	for i := range len(value) {
		c := value[i]
		digit := c >= '0' && c <= '9'
		if !digit && (r == bareNumber || !isWord(c) || c >= 0x80 || c == '$') {
			return dst, errBare(r)
		}
	}
	return append(dst, value...), nil
}

func errBare(r bareRule) error {
	if r == bareName {
		return fmt.Errorf("a variable in a name outside quotes must hold 1 to %d letters, digits and _", maxBare)
	}
	return errors.New("a variable outside quotes must hold a number; put it into quotes")
}
