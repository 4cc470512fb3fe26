# A function of every type, single and as a vector, that answers with other lengths than it was sent, and fails on demand.
# Rscript train.R OUTDIR
out <- commandArgs(trailingOnly = TRUE)[1]

calls <- function(x, xs, i, is, l, ls, s, ss, f, fs, d, ds, t, ts, act) {
  switch(act,
    error = stop("the function refuses ", x),
    names = return(list(x = x)),
    type = return(list(x = "text")),
    length = x <- c(x, x),
    die = tools::pskill(Sys.getpid(), 9L),
    nap = Sys.sleep(0.2)
  )
  list(
    x = sqrt(x) * pi, xs = c(xs / 3, NaN, NA, Inf, -0), i = -i, is = rev(c(is, NA)), l = !l, ls = ls[-1L],
    s = paste0(s, "\u20ac"), ss = rep(ss, 2L), f = rev(levels(f))[as.integer(f)], fs = fs[order(fs)], d = d + 1L,
    ds = c(ds, as.Date(NA)), t = t + 1 / 3, ts = rev(ts), count = length(xs), seed = runif(1)
  )
}

each <- c(
  x = "double", i = "integer", l = "logical", s = "string", f = "factor", d = "date", t = "datetime"
)
both <- as.list(c(each, stats::setNames(paste0(each, "[]"), paste0(names(each), "s"))))
levels <- c("low", "a:b", "Zoo \u00e9")
example <- list(
  x = 2, xs = c(0.1, NA, 1e-300), i = 7L, is = c(NA, 2L), l = TRUE, ls = c(TRUE, FALSE, NA), s = "\u00fc",
  ss = c("a", NA, "", "x:y"), f = factor("a:b", levels), fs = factor(c("low", NA, "Zoo \u00e9"), levels),
  d = as.Date("2024-02-29"), ds = as.Date(c("1969-12-31", NA)), t = as.POSIXct(1700000000.25, origin = "1970-01-01", tz = "UTC"),
  ts = as.POSIXct(c(-1.5, NA), origin = "1970-01-01", tz = "UTC"), act = ""
)
scoregate::package_function(
  calls, "calls", "1",
  inputs = c(both, act = "string"), outputs = c(replace(both, "f", "string"), count = "integer", seed = "double"),
  example = example, dir = out, quiet = TRUE
)
