# What a loan costs each month, and how it is paid off: no model, but a function of named inputs to named outputs.
# The rate may change from year to year. Rscript train.R OUTDIR
out <- commandArgs(trailingOnly = TRUE)[1]

loan_schedule <- function(principal, rate, years, start) {
  stopifnot("rate must have one value, or one per year" = length(rate) %in% c(1L, years))
  months <- 12L * years
  monthly <- rep(rate, length.out = years)[(seq_len(months) - 1L) %/% 12L + 1L] / 12
  balance <- payment <- numeric(months)
  owed <- principal
  for (month in seq_len(months)) {
    left <- months - month + 1L
    m <- monthly[month]
    payment[month] <- if (m == 0) owed / left else owed * m / (1 - (1 + m)^-left)
    owed <- owed * (1 + m) - payment[month]
    balance[month] <- owed
  }
  list(
    first_payment = payment[1L],
    total_interest = sum(payment) - principal,
    due = seq(start, by = "month", length.out = months),
    payment = payment,
    balance = balance
  )
}

scoregate::package_function(
  loan_schedule,
  name = "loan-schedule", version = "1", dir = out,
  inputs = list(principal = "double", rate = "double[]", years = "integer", start = "date"),
  outputs = list(
    first_payment = "double", total_interest = "double", due = "date[]", payment = "double[]", balance = "double[]"
  ),
  example = list(principal = 10000, rate = c(0.045, 0.0525), years = 2L, start = as.Date("2025-02-01")),
  description = "Monthly payments of a loan whose rate may change each year, and what is owed after each"
)
