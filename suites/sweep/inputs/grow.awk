# rate and steps in, one line out: rate, steps and what the start value has grown to.
{
    value = $1
    for (step = 0; step < steps; step++) value *= 1 + rate / 100
    printf "%s %s %.3f\n", rate, steps, value
}
