-- What scheme= of the block's args applies to.
local hash = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"

local answers = {
  table = {1, {password = hash}},
  tablescheme = {1, {password = "{PLAIN}x"}},
  string = {1, "password=" .. hash},
  stringplain = {1, "password=x"},
  stringscheme = {1, "password={SHA256.HEX}" .. hash},
  a = {1, ""},
  b = {1, {}},
  c = {0, ""},
  d = {0, {}},
}

function auth_passdb_lookup(req)
  local a = answers[req.username]
  if a == nil then return dovecot.auth.PASSDB_RESULT_USER_UNKNOWN, "" end
  return a[1], a[2]
end
