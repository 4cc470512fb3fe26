# R's own answer of a packaged function, in a session of its own that knows nothing of scoregate: it reads the published .rds
# and calls the function as a modeller would.
#
#   Rscript --vanilla independent_call.R MODEL.rds OUT.json
#
# OUT.json: {"inputs": as /v1 takes them, "outputs": each as an array}. Of doubles, dates and times the outputs hold the 16
# hexadecimal digits of their bits, NA and NaN as R has them, so nothing between Python and R rounds.
args <- commandArgs(trailingOnly = TRUE)
fun <- readRDS(args[[1L]])$run_function

at <- function(seconds) as.POSIXct(seconds, origin = "1970-01-01", tz = "UTC")
levels <- c("low", "a:b", "Zoo \u00e9")
inputs <- list(
  x = 1 / 7, xs = c(0.1 + 0.2, NA, -0, 1e-310, 123456.789), i = -3L, is = c(5L, NA, 2147483647L, 0L, 9L, 1L), l = FALSE,
  ls = c(NA, TRUE, FALSE), s = "na\u00efve \"text\"", ss = c("NA", NA, "", "\u20ac"), f = factor("low", levels),
  fs = factor(c("Zoo \u00e9", NA, "low", "low"), levels), d = as.Date("1600-02-29"),
  ds = as.Date(c("2024-02-29", NA, "9999-12-31")), t = at(1e9 / 3), ts = at(c(0.1, NA, -86400.5)), act = ""
)
set.seed(20221101)
outputs <- do.call(fun, inputs)

vectors <- c("xs", "is", "ls", "ss", "fs", "ds", "ts")
quoted <- function(text) paste0("\"", gsub("([\"\\\\])", "\\\\\\1", text), "\"")
bits <- function(x) {
  vapply(as.double(x), function(v) paste(rev(as.character(writeBin(v, raw(), endian = "little"))), collapse = ""), "")
}
sent <- function(x) {
  text <- if (is.logical(x)) {
    tolower(as.character(x))
  } else if (is.numeric(x) && !is.object(x)) {
    ifelse(x == 0 & 1 / x < 0, "-0.0", sprintf("%.17g", x))
  } else if (inherits(x, "POSIXct")) {
    whole <- floor(as.double(x))
    quoted(paste0(format(at(whole), "%Y-%m-%dT%H:%M:%S"), sub("^0", "", sprintf("%.60f", as.double(x) - whole)), "Z"))
  } else {
    quoted(as.character(x))
  }
  ifelse(is.na(x), "null", text)
}
got <- function(x) {
  if (is.double(x)) quoted(bits(x)) else if (is.integer(x) && !is.object(x)) ifelse(is.na(x), "null", x) else sent(x)
}
array_of <- function(cells) paste0("[", paste(cells, collapse = ","), "]")
object <- function(values) paste0("{", paste0(quoted(names(values)), ":", unlist(values), collapse = ","), "}")
asked <- Map(function(x, name) if (name %in% vectors) array_of(sent(x)) else sent(x), inputs, names(inputs))
answered <- lapply(outputs, function(x) array_of(got(x)))
writeLines(object(list(inputs = object(asked), outputs = object(answered))), args[[2L]], useBytes = TRUE)
