# A worker's routes but for POST /predict, which its router answers itself (R/plumber.R).

#* @get /ping
function(res) answer_ping(tidy, garbage, res)
