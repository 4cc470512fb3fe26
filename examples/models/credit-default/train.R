# Will a borrower default? A logistic regression with a factor, an ordered factor, a logical, whole numbers, missing
# values and a date. The data are made up here, from a fixed seed: no real borrower is in them. Rscript train.R OUTDIR
out <- commandArgs(trailingOnly = TRUE)[1]

set.seed(20221101)
n <- 2000
loans <- data.frame(
  amount = round(exp(rnorm(n, 9, 0.6)), 2),
  income = round(exp(rnorm(n, 10.4, 0.5)), 2),
  age = sample(18:80, n, replace = TRUE),
  purpose = factor(sample(c("car", "education", "home", "other"), n, replace = TRUE)),
  rating = factor(sample(c("low", "fair", "good", "top"), n, replace = TRUE, prob = c(2, 4, 3, 1)),
    levels = c("low", "fair", "good", "top"), ordered = TRUE
  ),
  owns_home = sample(c(TRUE, FALSE), n, replace = TRUE),
  earlier_loans = rpois(n, 1.2),
  opened = as.Date("2018-01-01") + sample(0:1800, n, replace = TRUE)
)
risk <- with(loans, -1.6 + 0.9 * log(amount / income) - 0.01 * (age - 45) - 0.5 * as.integer(rating) -
  0.4 * owns_home + 0.25 * earlier_loans + 0.4 * (purpose == "other") +
  as.numeric(opened - as.Date("2020-01-01")) / 2000)
loans$default <- rbinom(n, 1, plogis(risk + 3)) == 1
loans$income[sample(n, 60)] <- NA
loans$rating[sample(n, 40)] <- NA

# A row without income or rating gets no probability: NA, in its place.
fit <- glm(
  default ~ log(amount) + log(income) + age + purpose + rating + owns_home + earlier_loans + opened,
  family = binomial(), data = loans, na.action = na.exclude
)

scoregate::package_model(
  fit,
  name = "credit-default", version = "1", sample = loans, dir = out, slim = TRUE,
  description = "Probability that a loan defaults within a year (made-up data)"
)
