package conf

import (
	"errors"
	"strings"
)

// if24 writes %{if;LHS;OP;RHS;TRUE;FALSE} for 2.4, whose if() takes texts and names of variables and nothing inside them.
func if24(text string) (string, error) {
	anew := errors.New("this %{if} has to be written anew for 2.4")
	_, rest, _ := strings.Cut(text, ";")
	parts := splitCondition(rest)
	if len(parts) == 4 {
		parts = append(parts, "")
	}
	if len(parts) != 5 {
		return "", anew
	}
	left, err := template24(parts[0], AuthLetters, nil)
	switch {
	case err != nil:
		return "", err
	case !strings.Contains(left, "%"):
		left = "literal(" + quoted24(left) + ")"
	default:
		in, after, err := cutPipeline(strings.TrimPrefix(left, "%{"))
		if err != nil || after != "" || !strings.HasPrefix(left, "%{") {
			return "", anew
		}
		left = in
	}
	args := []string{quoted24(parts[1])}
	for _, p := range parts[2:] {
		t, err := template24(p, AuthLetters, nil)
		if err != nil {
			return "", err
		}
		name, isName := strings.CutPrefix(t, "%{")
		name, closed := strings.CutSuffix(name, "}")
		switch {
		case !strings.Contains(t, "%"):
			args = append(args, quoted24(t))
		case isName && closed && !strings.ContainsAny(name, " |{}'("):
			args = append(args, name)
		default:
			return "", anew
		}
	}
	return left + " | if(" + strings.Join(args, ", ") + ")", nil
}

// quoted24 writes a text as an argument of a filter.
func quoted24(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`, "\n", `\n`, "\t", `\t`, "\r", `\r`).Replace(s) + "'"
}
