using MLDistributed.Protocol;

namespace MLDistributed.Training.Optimization;

/// <summary>The learning rate of each step.</summary>
internal static class LearningRate
{
    /// <summary>Linear from 0 while warming up, then constant, or half a cosine (Loshchilov and Hutter 2017) down to the final fraction; or exponential from the initial fraction up.</summary>
    /// <param name="schedule">Null: constant.</param>
    /// <param name="peak">The rate after the warm-up.</param>
    /// <param name="step">From 0.</param>
    /// <param name="totalSteps">Of the whole job.</param>
    public static double At(ScheduleSpec? schedule, double peak, long step, long totalSteps)
    {
        if (schedule is null)
            return peak;
        if (schedule.Kind == ScheduleKind.Exponential)
            return peak * Math.Pow(schedule.InitialFraction, 1 - (double)step / Math.Max(1, totalSteps - 1));
        var warmup = (long)Math.Round(totalSteps * schedule.WarmupFraction);
        if (step < warmup)
            return peak * (step + 1) / (warmup + 1);
        if (schedule.Kind == ScheduleKind.Constant)
            return peak;
        var progress = Math.Min(1, (double)(step - warmup) / Math.Max(1, totalSteps - warmup));
        return peak * (schedule.FinalFraction + (1 - schedule.FinalFraction) * (1 + Math.Cos(Math.PI * progress)) / 2);
    }
}
