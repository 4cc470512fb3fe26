"""Models that do on purpose what others do by accident."""

from __future__ import annotations

from dataclasses import replace

from shared.signature import Field, Signature, Type
from tests.service.scorer_pod import Model, vector

NUMBER = Field(name="x", type=Type.DOUBLE, nullable=True)

DOUBLE = Model(
    name="double",
    signature=vector(NUMBER),
    code="predict_model <- function(model, newdata) 2 * newdata$x",
    example={"x": [1.0, None, 2.5, "Inf"]},
    answers={"prediction": [2.0, None, 5.0, "Inf"]},
)


def doubling(number: str, factor: int) -> Model:
    """A version of DOUBLE that multiplies by another factor."""
    return replace(
        DOUBLE,
        version=number,
        code=f"predict_model <- function(model, newdata) {factor} * newdata$x",
        example={"x": [1.0]},
        answers={"prediction": [float(factor)]},
    )


#: Sleeps as long as its slowest row says.
SLOW = Model(
    name="slow",
    signature=vector(Field(name="seconds", type=Type.DOUBLE)),
    code="predict_model <- function(model, newdata) { Sys.sleep(max(newdata$seconds)); newdata$seconds }",
    example={"seconds": [0.0, 0.001]},
    answers={"prediction": [0.0, 0.001]},
    batchable=False,
)

#: Does what the text of a row says, and answers the row's number.
HOSTILE = Model(
    name="hostile",
    signature=vector(NUMBER, Field(name="act", type=Type.STRING)),
    code="""
predict_model <- function(model, newdata) {
  for (act in unique(newdata$act)) {
    switch(act,
      error = stop("poisoned row"),
      segfault = tools::pskill(Sys.getpid(), 11L),
      quit = quit(save = "no"),
      hang = repeat {},
      nap = Sys.sleep(0.4),
      stdout = { line <- strrep("x", 1e6); for (i in 1:200) cat(line, "\\n") },
      session = {
        setwd("/"); options(digits = 3, OutDec = ",", scipen = 100); set.seed(99, kind = "Wichmann-Hill"); runif(5)
        Sys.setlocale("LC_ALL", "C"); Sys.setenv(TZ = "Asia/Tokyo"); sink(tempfile()); attach(list(newdata = 1))
      },
      connections = for (i in 1:110) file(tempfile(), "w"),
      allocate = numeric(8e9)
    )
  }
  newdata$x
}
""",
    example={"x": [1.0, 2.0], "act": ["ok", "ok"]},
    answers={"prediction": [1.0, 2.0]},
)

#: Says in what state R is.
SESSION = """
predict_model <- function(model, newdata) {
  data.frame(what = newdata$what, value = vapply(newdata$what, function(what) {
    paste(switch(what,
      digits = options("digits", "OutDec", "scipen"), seed = runif(2), locale = Sys.getlocale(), tz = Sys.getenv("TZ"),
      jit = compiler::enableJIT(-1), threads = Sys.getenv("OMP_THREAD_LIMIT"), blas = extSoftVersion()[["BLAS"]],
      environment = toString(sort(names(Sys.getenv()))), wd = basename(getwd()), tempdir = dirname(tempdir()),
      sinks = sink.number(), search = toString(search())
    ), collapse = " ")
  }, ""))
}
"""

INSPECT = Model(
    name="inspect",
    signature=Signature(
        inputs=(Field(name="what", type=Type.STRING),),
        outputs=(Field(name="what", type=Type.STRING), Field(name="value", type=Type.STRING)),
        kind="table",
    ),
    code=SESSION,
    example={"what": ["tz"]},
    answers={"what": ["tz"], "value": ["UTC"]},
)

COLUMNS = (
    Field(name="double", type=Type.DOUBLE, nullable=True),
    Field(name="integer", type=Type.INTEGER, nullable=True),
    Field(name="logical", type=Type.LOGICAL, nullable=True),
    Field(name="string", type=Type.STRING, nullable=True),
    Field(name="factor", type=Type.FACTOR, nullable=True, levels=("low", "mïd", "high €", "")),
    Field(name="ordered", type=Type.FACTOR, nullable=True, levels=("b", "a"), ordered=True),
    Field(name="date", type=Type.DATE, nullable=True),
    Field(name="datetime", type=Type.DATETIME, nullable=True),
    Field(name='größe, in "mm"', type=Type.DOUBLE, nullable=True),
)

#: Answers its columns as they came, after a look at their classes.
ECHO = Model(
    name="echo",
    signature=Signature(inputs=COLUMNS, outputs=COLUMNS, kind="table"),
    code="""
predict_model <- function(model, newdata) {
  classes <- vapply(newdata, function(column) paste(class(column), collapse = " "), "")
  stopifnot(
    identical(unname(classes), c("numeric", "integer", "logical", "character", "factor", "ordered factor", "Date",
      "POSIXct POSIXt", "numeric")),
    identical(levels(newdata$factor), c("low", "m\\u00efd", "high \\u20ac", "")),
    identical(levels(newdata$ordered), c("b", "a")), identical(attr(newdata$datetime, "tzone"), "UTC"),
    all(Encoding(newdata$string) %in% c("unknown", "UTF-8")), is.data.frame(newdata)
  )
  newdata
}
""",
    example={
        "double": [1.5, None], "integer": [1, None], "logical": [True, None], "string": ["é", None],
        "factor": ["mïd", None], "ordered": ["a", None], "date": [19000.0, None], "datetime": [1.5e9, None],
        'größe, in "mm"': [0.1, None],
    },
    answers={
        "double": [1.5, None], "integer": [1, None], "logical": [True, None], "string": ["é", None],
        "factor": ["mïd", None], "ordered": ["a", None], "date": [19000.0, None], "datetime": [1.5e9, None],
        'größe, in "mm"': [0.1, None],
    },
)  # fmt: skip
