package sql

import "testing"

func TestInjectionSQLite(t *testing.T) { checkInjection(t, sqliteDatabase(t)) }
