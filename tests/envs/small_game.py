"""A room small enough to be read whole, as a PDDL problem, with goals to put in place of GOAL."""

PROBLEM = """
(define (problem plan_trial_small) (:domain alfred)
(:objects agent1 - agent
  AppleType - otype KnifeType - otype ButterKnifeType - otype MugType - otype DeskLampType - otype
  FridgeType - rtype DeskType - rtype ShelfType - rtype SinkType - rtype SinkBasinType - rtype MicrowaveType - rtype
  Apple_bar_1 - object Knife_bar_1 - object Mug_bar_1 - object Mug_bar_2 - object
  DeskLamp_bar_1 - object Fridge_bar_1 - receptacle Desk_bar_1 - receptacle Shelf_bar_1 - receptacle
  Sink_bar_1_bar_SinkBasin - receptacle Microwave_bar_1 - receptacle
  loc_bar_0 - location loc_bar_1 - location loc_bar_2 - location loc_bar_3 - location)
(:init
  (receptacleType Fridge_bar_1 FridgeType) (receptacleAtLocation Fridge_bar_1 loc_bar_1) (openable Fridge_bar_1)
  (receptacleType Desk_bar_1 DeskType) (receptacleAtLocation Desk_bar_1 loc_bar_2)
  (receptacleType Shelf_bar_1 ShelfType) (receptacleAtLocation Shelf_bar_1 loc_bar_2)
  (receptacleType Sink_bar_1_bar_SinkBasin SinkBasinType) (receptacleAtLocation Sink_bar_1_bar_SinkBasin loc_bar_3)
  (receptacleType Microwave_bar_1 MicrowaveType) (receptacleAtLocation Microwave_bar_1 loc_bar_3)
  (openable Microwave_bar_1)
  (canContain DeskType MugType) (canContain ShelfType MugType) (canContain FridgeType AppleType)
  (canContain DeskType AppleType) (canContain DeskType KnifeType)
  (objectType Apple_bar_1 AppleType) (inReceptacle Apple_bar_1 Fridge_bar_1) (objectAtLocation Apple_bar_1 loc_bar_1)
  (pickupable Apple_bar_1) (cleanable Apple_bar_1) (heatable Apple_bar_1) (coolable Apple_bar_1) (sliceable Apple_bar_1)
  (objectType Knife_bar_1 KnifeType) (inReceptacle Knife_bar_1 Desk_bar_1) (objectAtLocation Knife_bar_1 loc_bar_2)
  (pickupable Knife_bar_1)
  (objectType Mug_bar_1 MugType) (inReceptacle Mug_bar_1 Desk_bar_1) (objectAtLocation Mug_bar_1 loc_bar_2)
  (pickupable Mug_bar_1) (isReceptacleObject Mug_bar_1)
  (objectType Mug_bar_2 MugType) (inReceptacle Mug_bar_2 Shelf_bar_1) (objectAtLocation Mug_bar_2 loc_bar_2)
  (pickupable Mug_bar_2) (isReceptacleObject Mug_bar_2)
  (objectType DeskLamp_bar_1 DeskLampType) (inReceptacle DeskLamp_bar_1 Desk_bar_1)
  (objectAtLocation DeskLamp_bar_1 loc_bar_2) (toggleable DeskLamp_bar_1)
  (atLocation agent1 loc_bar_0))
GOAL)
"""
CLEAN = """(:goal (and (exists (?r - receptacle) (exists (?o - object) (and
 (cleanable ?o) (objectType ?o AppleType) (receptacleType ?r DeskType) (isClean ?o) (inReceptacle ?o ?r))))))"""
LOOK = """(:goal (and (exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and (objectType ?ot DeskLampType)
 (toggleable ?ot) (isToggled ?ot) (receptacleAtLocation ?r ?l) (atLocation ?a ?l) (inReceptacle ?ot ?r)))
 (exists (?o - object ?a - agent) (and (objectType ?o MugType) (holds ?a ?o)))))"""
TWO = """(:goal (and (exists (?r - receptacle) (exists (?o1 - object) (and (objectType ?o1 MugType)
 (receptacleType ?r ShelfType) (inReceptacle ?o1 ?r) (exists (?o2 - object) (and (not (= ?o1 ?o2))
 (objectType ?o2 MugType) (receptacleType ?r ShelfType) (inReceptacle ?o2 ?r))))))))"""
