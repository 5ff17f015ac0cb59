package conf

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// The filters that take a text apart or choose between texts.

func (r *run24) truncate(s *stage24) error {
	if len(s.args)+len(s.named) == 0 {
		return errors.New("Missing parameter")
	}
	if err := s.only(1, "bits"); err != nil {
		return err
	}
	a, bits := s.named["bits"]
	if !bits {
		a = s.args[0]
	}
	n, err := r.number(a)
	switch {
	case err != nil:
		return err
	case n < 0:
		return errors.New("Value of out of bounds")
	}
	if err := r.need("truncate"); err != nil {
		return err
	}
	switch {
	case bits && n == 0:
		r.value = nil
	case bits:
		r.value = truncateBits([]byte(string(r.value)), int(min(n, 1<<30)))
	case n < int64(len(r.value)):
		r.value = r.value[:n]
	}
	return nil
}

func (r *run24) substr(s *stage24) error {
	switch {
	case len(s.args)+len(s.named) == 0:
		return errors.New("Missing parameters")
	case len(s.args) == 0:
		return errors.New("Missing offset parameter")
	}
	if err := s.only(2); err != nil {
		return err
	}
	off, err := r.number(s.args[0])
	if err != nil {
		return err
	}
	size := int64(len(r.value))
	n := size
	if len(s.args) == 2 {
		if n, err = r.number(s.args[1]); err != nil {
			return err
		}
	}
	if err := r.need("substring"); err != nil {
		return err
	}
	switch {
	case off < -size || off > size:
		return errors.New("Offset out of bounds")
	case n < -size || n > size:
		return errors.New("Length out of bounds")
	}
	if off < 0 {
		off += size
	}
	end := off + n
	switch {
	case len(s.args) == 1:
		end = size
	case n == 0:
		end = off
	case n < 0:
		end = size + n // what is left out at the end
	}
	if end < off || end > size {
		return errors.New("Length out of bounds")
	}
	r.value = r.value[off:end]
	return nil
}

func (r *run24) index(s *stage24) error {
	switch {
	case len(s.args) == 0:
		return errors.New("Missing separator and index parameters")
	case len(s.args) == 1:
		return errors.New("Missing index parameter")
	}
	if err := s.only(2); err != nil {
		return err
	}
	sep, err := r.text(s.args[0])
	if err != nil {
		return err
	}
	n, err := r.number(s.args[1])
	if err != nil {
		return err
	}
	if err := r.need("index"); err != nil {
		return err
	}
	if sep == "" {
		return errors.New("Empty separator")
	}
	parts := strings.Split(string(r.value), sep)
	if n < 0 {
		n += int64(len(parts))
	}
	if n < 0 || n >= int64(len(parts)) {
		return errors.New("Position out of bounds")
	}
	r.setText(parts[n])
	return nil
}

func (r *run24) username(s *stage24) error {
	if err := errors.Join(s.only(0), r.need("get username from")); err != nil {
		return err
	}
	name, _, _ := strings.Cut(string(r.value), "@")
	r.setText(name)
	return nil
}

func (r *run24) domain(s *stage24) error {
	if err := errors.Join(s.only(0), r.need("get domain from")); err != nil {
		return err
	}
	_, domain, _ := strings.Cut(string(r.value), "@")
	r.setText(domain)
	return nil
}

func (r *run24) fill(s *stage24, left bool) error {
	if len(s.args) == 0 {
		return errors.New("Missing parameters")
	}
	if err := s.only(2); err != nil {
		return err
	}
	n, err := r.number(s.args[0])
	if err == nil && (n < 1 || n > maxPadding) {
		err = errors.New("Fill length out of bounds")
	}
	filler := "0"
	if len(s.args) == 2 && err == nil {
		if filler, err = r.text(s.args[1]); filler == "" && err == nil {
			err = errors.New("Empty filler")
		}
	}
	if err == nil {
		err = r.need("fill")
	}
	if err != nil {
		return err
	}
	missing := int(n) - len(r.value)
	if missing <= 0 {
		return nil
	}
	pad := strings.Repeat(filler, (missing+len(filler)-1)/len(filler))
	if left {
		r.value = append([]byte(pad), r.value...)
	} else {
		r.value = append(r.value, pad...)
	}
	return nil
}

func (r *run24) regexp(s *stage24) error {
	if len(s.args) < 2 {
		return errors.New("Missing pattern and replacement parameters")
	}
	if err := s.only(2); err != nil {
		return err
	}
	pattern, err := r.text(s.args[0])
	if err != nil {
		return err
	}
	rep, err := r.text(s.args[1])
	if err != nil {
		return err
	}
	if err := r.need("regexp"); err != nil {
		return err
	}
	re := r.re[pattern]
	if re == nil {
		if re, err = compile24(pattern); err != nil {
			return err
		}
	}
	in := string(r.value)
	m := re.FindStringSubmatchIndex(in)
	if m == nil {
		return nil
	}
	out := re.ExpandString([]byte(in[:m[0]]), replacement24(rep), in, m)
	r.value = append(out, in[m[1]:]...)
	return nil
}

// replacement24 writes the replacement of a pattern as Go has it: \1 and $1 are groups.
func replacement24(s string) string {
	digit := func(i int) bool { return i < len(s) && s[i] >= '0' && s[i] <= '9' }
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s) && s[i+1] == '\\':
			b.WriteByte('\\')
			i++
		case c == '$' && i+1 < len(s) && s[i+1] == '$':
			b.WriteString("$$")
			i++
		case c == '$' && i+1 < len(s) && s[i+1] == '{':
			b.WriteByte('$')
		case (c == '\\' || c == '$') && digit(i+1):
			end := i + 2
			for c == '$' && digit(end) {
				end++
			}
			b.WriteString("${" + s[i+1:end] + "}")
			i = end - 1
		case c == '$':
			b.WriteString("$$")
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// condition is if(LHS, OP, RHS, TRUE, FALSE); the value is the left side when there is one.
func (r *run24) condition(s *stage24) error {
	args := s.args
	if r.set {
		args = append([]arg24{{text: string(r.value)}}, args...)
	}
	if err := s.only(5 - len(args) + len(s.args)); err != nil {
		return err
	}
	if len(args) < 5 {
		return errors.New("Missing parameters")
	}
	yes, err := r.compare(args[0], args[1], args[2])
	if err != nil {
		return err
	}
	branch, what := args[3], "True branch"
	if !yes {
		branch, what = args[4], "False branch"
	}
	text, err := r.text(branch)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	r.setText(text)
	return nil
}

// choice is switch(LHS, OP, RHS, RESULT, RHS, RESULT, ..., DEFAULT).
func (r *run24) choice(s *stage24) error {
	args := s.args
	if r.set {
		args = append([]arg24{{text: string(r.value)}}, args...)
	}
	if err := s.only(len(s.args)); err != nil {
		return err
	}
	switch {
	case len(args) < 2:
		return errors.New("Missing parameters")
	case len(args) < 4:
		return errors.New("At least one condition-value pair is required")
	}
	left, op := args[0], args[1]
	n := 0
	for args = args[2:]; len(args) >= 2; args = args[2:] {
		yes, err := r.compare(left, op, args[0])
		if err != nil {
			return err
		}
		if yes {
			args = args[1:2]
			break
		}
		n++
	}
	if len(args) == 0 {
		return errors.New("No default value provided")
	}
	text, err := r.text(args[0])
	if err != nil {
		return fmt.Errorf("in condition #%d: %w", n, err)
	}
	r.setText(text)
	return nil
}

// compare tells whether a comparison is true.
func (r *run24) compare(left, op, right arg24) (bool, error) {
	o, err := r.text(op)
	if err != nil {
		return false, fmt.Errorf("Comparator: %w", err)
	}
	l, err := r.text(left)
	if err != nil {
		return false, fmt.Errorf("Left-hand side: %w", err)
	}
	rt, err := r.text(right)
	if err != nil {
		return false, fmt.Errorf("Right-hand side: %w", err)
	}
	switch o {
	case "~", "!~":
		re := r.re[rt]
		if re == nil {
			if re, err = compile24(rt); err != nil {
				return false, err
			}
		}
		return re.MatchString(l) == (o == "~"), nil
	case "==", "<", "<=", ">", ">=", "!=":
		if _, err := strconv.ParseInt(l, 10, 64); err != nil && r.set {
			return false, errors.New("Input is not a number")
		}
	}
	yes, err := (&condition{}).compare(l, o, rt)
	if err != nil {
		err = errors.New(strings.TrimPrefix(err.Error(), "if: "))
	}
	return yes, err
}
